"""`cos green …`: each command a few lines into what does the work."""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console

from cos.errors import CosError
from cos.green.errors import NoDiskSpace, NoRun, NotGreen
from cos.green.repo import Repo

if TYPE_CHECKING:
    from collections.abc import Callable

    from cos.green.log import Log
    from cos.green.scan import Scan
    from cos.green.state import RunState

_WIDE = 200
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
Paths = Annotated[list[str] | None, typer.Argument(help="Tests to run, as for pytest; default: the suite.")]
Agents = Annotated[int, typer.Option(min=1, max=64, help="Most missions of a wave.")]
Grant = Annotated[list[str] | None, typer.Option(help="Glob of a guarded file that missions may write.")]
GrantWeakening = Annotated[
    list[str] | None, typer.Option(help="Weakening to allow: KIND or KIND:GLOB, e.g. skip:tests/old/**.")
]
RunName = Annotated[str | None, typer.Argument(help="The run; default: the newest.")]


def console() -> Console:
    """Give a console on standard output; what is not a terminal is neither wrapped nor coloured."""
    piped = not sys.stdout.isatty()
    return Console(file=sys.stdout, soft_wrap=piped, width=_WIDE if piped else None)


def fail(error: CosError) -> NoReturn:
    """Print one sentence and leave with the error's exit code."""
    typer.echo(f"cos green: {error.detail}", err=True)
    raise typer.Exit(error.exit_code)


P = ParamSpec("P")
R = TypeVar("R")


def explained(command: Callable[P, R]) -> Callable[P, R]:
    """Turn what a command raises into one sentence and an exit code."""

    @functools.wraps(command)
    def inner(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return command(*arguments, **named)
        except CosError as error:
            fail(error)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                fail(NoDiskSpace())
            raise
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return inner


@app.callback()
def green() -> None:
    """Choose a command."""


@app.command()
@explained
def scan(
    paths: Paths = None,
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
    from cos.green.show import show_scan  # noqa: PLC0415 - each command loads what it needs

    found, _ = _scan(paths or [], source, python, llm, reruns, suite_limit, trace=trace)
    if as_json:
        typer.echo(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        show_scan(found, console(), tests=tests)


@app.command()
@explained
def plan(
    paths: Paths = None,
    source: FromFile = None,
    as_json: AsJson = False,
    agents: Agents = 2,
    python: Python = None,
    llm: Llm = None,
    grant: Grant = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the briefs and plan.json.")] = None,
    suite_limit: SuiteLimit = 1800.0,
) -> None:
    """Make missions in waves whose leases do not overlap; as Markdown briefs and JSON."""
    from cos.green.planning import plan_causes, write_plan  # noqa: PLC0415

    found, repo = _scan(paths or [], source, python, llm, 0, suite_limit, trace=True)
    waves = plan_causes(found, repo, agents=agents, grant=tuple(grant or ()), python=python)
    data = {"waves": [[mission.as_json() for mission in wave] for wave in waves]}
    folder = write_plan(waves, data, out or repo.make_state() / "plan")
    if as_json:
        typer.echo(json.dumps(data, ensure_ascii=False))
        return
    for wave in waves:
        for mission in wave:
            writes = ", ".join((*mission.write, *mission.granted))
            typer.echo(
                f"wave {mission.wave}  {mission.id}  {mission.expected} tests  {mission.name}\n    may write {writes}"
            )
    typer.echo(f"Briefs are in {folder}" if waves else "Nothing to plan: all green.")


@app.command()
@explained
def run(
    agent: Annotated[
        str, typer.Option(help="A preset (claude, codex, gemini, aider, …), a command, or scripted:FILE.")
    ],
    agents: Agents = 2,
    attempts: Annotated[int, typer.Option(min=1, max=10, help="How often a cause is tried.")] = 2,
    python: Python = None,
    grant: Grant = None,
    grant_weakening: GrantWeakening = None,
    wall: Annotated[float, typer.Option(min=1, help="Seconds that an agent may take.")] = 1800.0,
    idle: Annotated[
        float, typer.Option(min=1, help="Seconds without output or change before an agent is ended.")
    ] = 600.0,
    output: Annotated[int, typer.Option(min=1000, help="Bytes that an agent may print.")] = 20_000_000,
    cost: Annotated[
        float | None, typer.Option(min=0, help="Dollars that a mission may cost, if the agent tells.")
    ] = None,
    suite_limit: SuiteLimit = 1800.0,
    l1: Annotated[
        str | None, typer.Option("--l1", help="URL of a running COS that gets the same events.")
    ] = None,
) -> None:
    """Dispatch missions to agents, verify, merge, and go on until all is green or honestly blocked."""
    from cos.green.options import Options  # noqa: PLC0415
    from cos.green.running import begin  # noqa: PLC0415

    options = Options(
        agent=agent, agents=agents, attempts=attempts, python=python, suite_limit_s=suite_limit,
        grant=tuple(grant or ()), grant_weakening=tuple(grant_weakening or ()), wall_s=wall, idle_s=idle,
        output_bytes=output, cost_usd=cost, l1=l1,
    )  # fmt: skip
    _conclude(begin(_repo(), options, console()))


@app.command()
@explained
def resume(name: RunName = None) -> None:
    """Go on with a run that was stopped or died, without doing anything twice."""
    from cos.green.running import go_on  # noqa: PLC0415

    _conclude(go_on(_repo(), name, console()))


@app.command()
@explained
def stop() -> None:
    """Ask the run that is going on to stop; its agents are ended and `resume` goes on later."""
    from cos.green.running import ask_to_stop  # noqa: PLC0415

    typer.echo(ask_to_stop(_repo()))


@app.command()
@explained
def status(name: RunName = None, as_json: AsJson = False) -> None:
    """Show a run: missions, state, time, cost, pass rate."""
    from cos.green.view import view  # noqa: PLC0415

    state = _state(name)
    if as_json:
        typer.echo(json.dumps(_status(state), ensure_ascii=False))
    else:
        console().print(view(state))


@app.command()
@explained
def report(
    name: RunName = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.md and report.html; default: beside the log.")
    ] = None,
) -> None:
    """Write a run's report in Markdown and HTML and print the Markdown."""
    from cos.green.report import report_markdown  # noqa: PLC0415
    from cos.green.report_html import report_html  # noqa: PLC0415

    state = _state(name)
    folder = out or _repo().state / "runs" / state.run
    folder.mkdir(parents=True, exist_ok=True)
    text = report_markdown(state)
    (folder / "report.md").write_text(text, encoding="utf-8")
    (folder / "report.html").write_text(report_html(state), encoding="utf-8")
    typer.echo(text)
    typer.echo(f"Written to {folder}", err=True)


@app.command()
@explained
def history(
    as_json: AsJson = False,
    last: Annotated[int, typer.Option(min=1, help="How many runs to show.")] = 20,
    fail_under: Annotated[
        float | None, typer.Option(min=0, max=100, help="Fail if the last pass rate is less, in %.")
    ] = None,
) -> None:
    """Show pass rate, counts, runtime, slowest and flaky tests over all runs of the suite."""
    from cos.green.errors import BelowBound  # noqa: PLC0415
    from cos.green.history import read_history, show_history  # noqa: PLC0415

    found = read_history(_log(_repo()).events())
    if as_json:
        typer.echo(json.dumps(found.as_json(), ensure_ascii=False))
    elif found.rows:
        show_history(found, console(), last)
    if found.last_rate is None:
        raise NoRun("There is no run of the suite on record here yet: make one with `cos green scan`.")
    if fail_under is not None and found.last_rate * 100 < fail_under:
        raise BelowBound(f"The pass rate is {found.last_rate:.2%}, under the bound of {fail_under:g} %.")


def _repo() -> Repo:
    return Repo.find(Path(os.path.realpath(".")))


def _log(repo: Repo) -> Log:
    from cos.green.log import Log  # noqa: PLC0415

    if not (repo.state / "log.db").exists():
        raise NoRun
    return Log(repo.state / "log.db")


def _state(name: str | None) -> RunState:
    from cos.green.running import read_state  # noqa: PLC0415

    return read_state(_log(_repo()), name)


def _status(state: RunState) -> dict[str, Any]:
    return {
        "run": state.run,
        "status": state.status,
        "verdict": state.verdict,
        "branch": f"cos-green/{state.run}/integration",
        "missions": [
            {
                "id": one.mission.id,
                "state": one.state,
                "cause": one.mission.name,
                "wave": one.mission.wave,
                "attempt": one.mission.attempt,
                "branch": one.branch,
                "commit": one.commit,
                "reasons": one.reasons,
                "write": list(one.mission.write),
                "targets": list(one.mission.targets),
                "seconds": one.seconds,
                "cost_usd": one.cost_usd,
                "tries": one.tries,
            }
            for one in state.missions.values()
        ],
        "suites": [{"wave": suite.wave, "commit": suite.commit, **suite.counts} for suite in state.suites],
        "left": state.left,
    }


def _conclude(state: RunState) -> None:
    from cos.green.report import verdict  # noqa: PLC0415

    typer.echo(verdict(state).replace("`", ""))
    if state.verdict == "blocked":
        raise NotGreen(
            f"{sum(len(cause['tests']) for cause in state.left)} tests are still red: see `cos green report`."
        )


def _scan(
    paths: list[str],
    source: Path | None,
    python: str | None,
    llm: str | None,
    reruns: int,
    suite_limit: float,
    *,
    trace: bool,
) -> tuple[Scan, Repo]:
    from cos.green.scanning import scan_here  # noqa: PLC0415

    return scan_here(
        paths, source, python=python, llm=llm, reruns=reruns, suite_limit_s=suite_limit, trace=trace
    )


def main() -> None:
    """Run the commands by themselves: `python -m cos.green`."""
    app()
