"""`cos green …`: each command a few lines into what does the work."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from cos.errors import CosError
from cos.green.read import read_run
from cos.green.repo import Repo
from cos.green.rules import load_rules
from cos.green.scan import Scan, ask_for_proposals, scan_run, scan_suite
from cos.green.show import show_scan
from cos.green.suite import Suite, find_python

app = typer.Typer(
    name="green",
    help="From a failing test suite to all green: root causes, missions for any coding agent, proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

FromFile = Annotated[
    Path | None, typer.Option("--from", help="Read a JUnit XML, a pytest text log or a JSON Lines report.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Python = Annotated[
    str | None, typer.Option(help="Interpreter of the project; default: its .venv, else this one.")
]
Llm = Annotated[str | None, typer.Option(help="Command that may propose merges and names of causes.")]
Reruns = Annotated[
    int, typer.Option(min=0, help="Most processes that tell flaky from deterministic; 0: none.")
]
SuiteLimit = Annotated[float, typer.Option(min=1, help="Seconds that one run of the suite may take.")]


def console() -> Console:
    """Give a console on standard output that neither wraps nor colours what is not a terminal."""
    return Console(file=sys.stdout, soft_wrap=not sys.stdout.isatty())


def fail(error: CosError) -> NoReturn:
    """Print one sentence and leave with the error's exit code."""
    typer.echo(f"cos green: {error.detail}", err=True)
    raise typer.Exit(error.exit_code)


@app.callback()
def green() -> None:
    """Choose a command."""


@app.command()
def scan(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Tests to run, as for pytest; default: the suite.")
    ] = None,
    source: FromFile = None,
    as_json: AsJson = False,
    python: Python = None,
    llm: Llm = None,
    reruns: Reruns = 60,
    suite_limit: SuiteLimit = 1800.0,
    trace: Annotated[bool, typer.Option(help="Note which functions each test executes.")] = True,
    tests: Annotated[int, typer.Option(min=1, help="How many tests to name a cause.")] = 5,
) -> None:
    """Run the suite (or read a record of a run) and print causes, not failures."""
    try:
        found = _scan(paths or [], source, python, llm, reruns, suite_limit, trace=trace)
    except CosError as error:
        fail(error)
    if as_json:
        typer.echo(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        show_scan(found, console(), tests=tests)


def _scan(
    paths: list[str],
    source: Path | None,
    python: str | None,
    llm: str | None,
    reruns: int,
    suite_limit: float,
    *,
    trace: bool,
) -> Scan:
    here = Path(os.path.realpath("."))
    if source is not None:
        root = Repo.root_of(here) or here
        rules = load_rules(root)
        found = scan_run(read_run(source), root, rules)
    else:
        root = Repo.find(here).root
        rules = load_rules(root)
        suite = Suite(
            root, root, find_python(root, python or rules.python), suite_limit, (*rules.pytest_args, *paths)
        )
        found = scan_suite(suite, rules, reruns=reruns, trace=trace)
    ask_for_proposals(found, rules, root, llm)
    return found


def main() -> None:
    """Run the commands by themselves: `python -m cos.green`."""
    app()
