"""`cos green run`, `resume` and `stop` at the command line: the lock, the live view, and a name for the run."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.live import Live

from cos.green.agents import Agent
from cos.green.clock import monotonic, now
from cos.green.errors import NoRun, RunGoesOn
from cos.green.log import Log
from cos.green.options import Options, options_from
from cos.green.orchestrate import Orchestrator, Stopped
from cos.green.orphans import end_orphans
from cos.green.publish import Publisher
from cos.green.state import RunState, fold
from cos.green.view import headline, view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from cos.green.repo import Repo

_DRAW_S = 0.25


def begin(repo: Repo, options: Options, console: Console) -> RunState:
    """Start a run on the user's commit.

    Args:
        repo: the project's.
        options: of the run.
        console: for the live view; a line an event where it is not a terminal.

    Returns:
        The state at its end (or when it was stopped).

    Raises:
        AgentMissing: the agent's command was not found.
        RunGoesOn: another run works here.
        NoCommit: there is nothing to start from.
    """
    base = repo.head()
    Agent.find(options.agent)
    dirty = repo.uncommitted()
    log = Log(repo.make_state() / "log.db")
    name = _new_name(log)
    one = Orchestrator(repo, log, name)
    one.lock()
    notes = []
    if dirty:
        shown = ", ".join(dirty[:3]) + (f" and {len(dirty) - 3} more" if len(dirty) > 3 else "")  # noqa: PLR2004
        notes.append(
            f"{len(dirty)} uncommitted changes ({shown}) stay as they are and are not part of this run."
        )
    for note in notes:
        console.print(note, highlight=False)
    one.begin(options, base, notes)
    return _drive(one, console)


def go_on(repo: Repo, name: str | None, console: Console) -> RunState:
    """Go on with a run.

    Args:
        repo: the project's.
        name: of the run; None for the newest.
        console: as for `begin`.

    Raises:
        NoRun: there is no such run.
        RunGoesOn: it is still at work.
    """
    log = _open(repo)
    state = read_state(log, name)
    if state.status == "ended":
        return state
    one = Orchestrator(repo, log, state.run)
    one.lock()
    return _drive(one, console)


def ask_to_stop(repo: Repo) -> str:
    """Ask the run that is going on to stop, or tidy up after one that died.

    Returns:
        A sentence on what was done.
    """
    log = _open(repo)
    state = read_state(log, None)
    if state.status != "running":
        return f"The run {state.run} is not going on: it is {state.verdict or state.status}."
    one = Orchestrator(repo, log, state.run)
    try:
        one.lock()
    except RunGoesOn:
        log.append(state.run, "stop_requested")
        return f"The run {state.run} stops after its present step; `cos green resume` goes on."
    end_orphans(repo.root)
    log.append(state.run, "run_stopped")
    return f"The run {state.run} had died; what it left was ended. `cos green resume` goes on."


def read_state(log: Log, name: str | None) -> RunState:
    """Give the state of a run.

    Raises:
        NoRun: there is none of this name, or none at all.
    """
    chosen = name or log.last_run()
    state = fold(chosen, log.events(chosen)) if chosen else None
    if state is None or not state.base:
        raise NoRun(f"There is no run '{name}' here: see `cos green status`." if name else None)
    return state


def _open(repo: Repo) -> Log:
    path = repo.state / "log.db"
    if not path.exists():
        raise NoRun
    return Log(path)


def _new_name(log: Log) -> str:
    """Name a run by its time; a second one in the same second gets a letter."""
    stem = now().strftime("%Y%m%d-%H%M%S")
    taken = {event.run for event in log.events()}
    return next(
        name for name in (stem, *(f"{stem}{letter}" for letter in "bcdefghijklmnop")) if name not in taken
    )


def _drive(one: Orchestrator, console: Console) -> RunState:
    publisher = Publisher.of(options_from(one.state.options).l1, one.run)
    with _shown(one.state, console) as draw:

        def changed(state: RunState) -> None:
            draw(state)
            publisher.send(one.log)

        one.on_change = changed
        try:
            return one.drive()
        except Stopped:
            return one.state
        except KeyboardInterrupt:
            one.log.append(one.run, "run_stopped")
            return read_state(one.log, one.run)
        finally:
            publisher.send(one.log, last=True)


@contextlib.contextmanager
def _shown(state: RunState, console: Console) -> Iterator[Callable[[RunState], None]]:
    """Give a function that shows a state: live on a terminal, else one line whenever something changed."""
    if console.is_terminal:
        with Live(view(state), console=console, auto_refresh=False, transient=False) as live:
            drawn = 0.0

            def draw(current: RunState) -> None:
                nonlocal drawn
                if monotonic() - drawn > _DRAW_S or current.status != "running":
                    drawn = monotonic()
                    live.update(view(current), refresh=True)

            yield draw
        return
    last: dict[str, str] = {}

    def tell(current: RunState) -> None:
        for one in current.missions.values():
            if last.get(one.mission.id) != one.state:
                last[one.mission.id] = one.state
                why = f": {one.reasons[0]}" if one.reasons else ""
                console.print(
                    f"{one.mission.id} {one.state} ({one.mission.name}){why}", highlight=False, markup=False
                )
        line = headline(current)
        if current.suites and last.get("") != line:
            last[""] = line
            console.print(line, highlight=False)

    yield tell
