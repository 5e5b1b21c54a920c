"""The commands that start, stop and look at COS itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cos.cli.options import ConfigFile, DataDir, Host, Json, Port, settings
from cos.cli.screen import fail, say, show_json, show_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cos.config import Settings

_OK, _NOT_WELL = 0, 1
_LINES = 50


def add_to(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    for command in (up, down, status, logs, serve, worker, doctor, version):
        app.command()(command)


def up(
    data_dir: DataDir = None,
    port: Port = None,
    host: Host = None,
    config: ConfigFile = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it is ready.")] = False,
    ready_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Start COS: Postgres, Redis, the relay and the API; Ctrl-C stops all of it."""
    given = settings(data_dir=data_dir, port=port, host=host, config=config)
    if detach:
        from cos.runtime.detach import start_detached

        say(f"COS is ready at {start_detached(given, progress=say)}")
        return
    from cos.runtime import up as runtime

    if ready_fd is not None:
        from cos.runtime.detach import Reporter

        with Reporter(ready_fd) as reporter:
            _run(given, runtime.up, progress=reporter.progress, ready=reporter.ready)
        return
    _run(
        given, runtime.up, progress=say, ready=lambda url: say(f"COS is ready at {url}    (Ctrl-C stops it)")
    )


def serve(data_dir: DataDir = None, port: Port = None, host: Host = None, config: ConfigFile = None) -> None:
    """Run the API alone, over a Postgres and Redis that are there already."""
    from cos.runtime import up as runtime

    given = settings(data_dir=data_dir, port=port, host=host, config=config)
    _run(given, runtime.serve, progress=say, ready=lambda url: say(f"The API is ready at {url}"))


def worker(data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Run the background parts alone, over a Postgres and Redis that are there already."""
    from cos.runtime import up as runtime

    given = settings(data_dir=data_dir, config=config)
    _run(given, runtime.worker, progress=say, ready=lambda _: say("The worker is ready"))


def down(data_dir: DataDir = None) -> None:
    """Stop the COS that runs in the data folder; returns when it has ended."""
    from cos.runtime.detach import stop

    say(f"COS has stopped (pid {stop(settings(data_dir=data_dir))})")


def status(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show what runs, since when, where, and how it is."""
    import asyncio

    from cos.errors import NotRunning
    from cos.runtime.status import status as measure

    found = asyncio.run(measure(settings(data_dir=data_dir)))
    if as_json:
        show_json(found)
    else:
        _show_status(found)
    if found["api"]["pid"] is None:
        raise typer.Exit(NotRunning.exit_code)
    if found["health"] == "down":
        raise typer.Exit(_NOT_WELL)


def logs(
    part: Annotated[str, typer.Argument(help="cos, postgres or redis")] = "cos",
    data_dir: DataDir = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines.")] = _LINES,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written.")] = False,
) -> None:
    """Show the log of COS (of `cos up --detach`), of its Postgres or of its Redis."""
    from cos.runtime.logs import show

    show(settings(data_dir=data_dir), part, lines=lines, follow=follow, say=say)


def doctor(
    data_dir: DataDir = None,
    port: Port = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what can be mended; recorded data is safe.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check everything that COS needs, say what to do about what is not well, and mend it if asked."""
    import asyncio

    from cos.config import folder_without_file
    from cos.errors import BadSetting
    from cos.runtime.doctor import examine
    from cos.runtime.mending import mend, unlock
    from cos.runtime.restore import mend_positions

    tell = fail if as_json else say
    try:
        given = settings(data_dir=data_dir, port=port)
    except BadSetting:
        unlocked = _tried(lambda: unlock(folder_without_file(data_dir))) if fix else []
        for line in unlocked:
            tell(line)
        given = settings(data_dir=data_dir, port=port)
    if fix:
        for work in (lambda: mend(given), lambda: asyncio.run(mend_positions(given))):
            for line in _tried(work):
                tell(line)
    findings = asyncio.run(examine(given))
    if as_json:
        show_json([finding.as_dict() for finding in findings])
    else:
        show_table(
            ("", "check", "found", "what to do"),
            [("ok" if one.ok else "NOT OK", one.check, one.found, one.advice) for one in findings],
        )
    if not all(one.ok for one in findings):
        raise typer.Exit(_NOT_WELL)


def _tried(work: Callable[[], list[str]]) -> list[str]:
    """Give what was done, or the sentence that says why it was not: the checks that follow say more."""
    from cos.errors import CosError

    try:
        return work()
    except CosError as error:
        return [error.detail]


def version(as_json: Json = False) -> None:
    """Show the version of COS and of what it brings."""
    import platform

    import cos
    from cos.infra.binaries import find_postgres_bin, find_redis_server, read_version

    found = {
        "cos": cos.__version__,
        "python": platform.python_version(),
        "postgres": read_version(find_postgres_bin() / "postgres"),
        "redis": read_version(find_redis_server()),
    }
    if as_json:
        show_json(found)
    else:
        for name, number in found.items():
            say(f"{name:<10}{number}")


def _run(
    given: Settings,
    what: Callable[..., Any],
    *,
    progress: Callable[[str], None],
    ready: Callable[[str], None],
) -> None:
    from cos.common import log
    from cos.runtime.loop import run

    log.configure(level=given.log_level, shape=given.log_format)
    run(what(given, progress=progress, ready=ready))


def _show_status(found: dict[str, Any]) -> None:
    say(f"COS is {found['health']}    {found['data_dir']}")
    for cause in found["causes"]:
        fail(cause)
    if found["api"]["pid"] is None:
        return
    rows = [
        ("API", "running", str(found["api"]["pid"]), _short(found["since"]), str(found["api"]["url"])),
        *(
            (
                name.title(),
                str(found[name]["state"]),
                str(found[name]["pid"] or ""),
                _short(found[name].get("since")),
                str(found[name]["url"]),
            )
            for name in ("postgres", "redis")
        ),
        ("Relay", str(found["relay"].get("state", "")), "", "", _lag(found["relay"])),
    ]
    show_table(("part", "state", "pid", "since", "where"), rows)
    say(f"{found['records']} records")
    if found["streams"]:
        show_table(
            ("module", "stream", "length", "last position"),
            [
                (name, one["key"], str(one["length"]), one["last_position"])
                for name, one in sorted(found["streams"].items())
            ],
        )
    sys.stdout.flush()


def _lag(relay: dict[str, Any]) -> str:
    if relay["lag_events"] is None:
        return "lag unknown"
    return f"{relay['lag_events']} events behind, {relay['lag_seconds']:.1f} s"


def _short(time: Any) -> str:
    return "" if time is None else str(time)[:19].replace("T", " ")
