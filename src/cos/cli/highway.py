"""The commands about consumer groups, projections and dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cos.cli.options import ApiUrl, DataDir, Json, settings
from cos.cli.screen import say, show_json, show_table

if TYPE_CHECKING:
    from pathlib import Path

letters = typer.Typer(no_args_is_help=True)
groups = typer.Typer(no_args_is_help=True)
projections = typer.Typer(no_args_is_help=True)

LetterId = Annotated[str | None, typer.Argument(metavar="LETTER", help="Its id.")]
GroupOf = Annotated[str | None, typer.Option("--group", "-g", help="Buried by this group.")]
ModuleOf = Annotated[str | None, typer.Option("--module", "-m", help="Of this module.")]
TypeOf = Annotated[str | None, typer.Option("--type", "-t", help="Of this type; a trailing * matches more.")]
StateOf = Annotated[
    str | None, typer.Option("--state", help="In this state: dead, queued, delivering or delivered.")
]
Every = Annotated[bool, typer.Option("--all", help="Every one.")]
Name = Annotated[str, typer.Argument(help="Its name.")]

_SHOWN_ERROR = 60


def add_to(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    app.add_typer(letters, name="dead-letters", help="What consumer groups could not handle.")
    app.add_typer(groups, name="groups", help="Consumer groups: how far each is, and how far behind.")
    app.add_typer(projections, name="projections", help="Projections: state, position, rebuilding.")


@letters.command("list")
def list_letters(
    group: GroupOf = None,
    module: ModuleOf = None,
    event_type: TypeOf = None,
    state: StateOf = None,
    before: Annotated[str | None, typer.Option("--before", help="Older than this letter.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 20,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first."""
    wanted = _filter(group, module, event_type, state) | {"limit": limit}
    if before is not None:
        wanted["before"] = before
    found = _call("GET", "/cc/dead-letters", data_dir, api_url, params=wanted)
    if as_json:
        show_json(found)
        return
    rows = [
        (
            one["id"],
            one["state"],
            one["group"],
            one["module"],
            one["position"],
            one["type"] or "",
            str(one["attempts"]),
            one["error"].splitlines()[0][:_SHOWN_ERROR],
        )
        for one in found["letters"]
    ]
    show_table(("letter", "state", "group", "module", "position", "type", "attempts", "error"), rows)
    if found["next"] is not None:
        say(f"There are more: --before {found['next']}")


@letters.command("show")
def show_letter(
    letter: Annotated[str, typer.Argument(metavar="LETTER", help="Its id.")],
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Json = False,
) -> None:
    """Show one dead letter, with its event and the traceback."""
    found = _call("GET", f"/cc/dead-letters/{_part(letter)}", data_dir, api_url)
    if as_json:
        show_json(found)
        return
    trace = found.pop("traceback")
    event = found.pop("event")
    for name, value in found.items():
        say(f"{name:<16}{'' if value is None else value}")
    say("")
    show_json(event)
    say("")
    say(trace.rstrip())


@letters.command("requeue")
def requeue_letters(
    letter: LetterId = None,
    group: GroupOf = None,
    module: ModuleOf = None,
    event_type: TypeOf = None,
    every: Every = False,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Json = False,
) -> None:
    """Deliver dead letters once more, each to its group only: one, those that a filter means, or all."""
    if letter is not None:
        found = _call("POST", f"/cc/dead-letters/{_part(letter)}/requeue", data_dir, api_url)
    else:
        meant = _filter(group, module, event_type, None) | {"all": every}
        found = _call("POST", "/cc/dead-letters/requeue", data_dir, api_url, json=meant)
    _tell(found, letter, "requeued", as_json)


@letters.command("drop")
def drop_letters(
    letter: LetterId = None,
    group: GroupOf = None,
    module: ModuleOf = None,
    event_type: TypeOf = None,
    state: StateOf = None,
    every: Every = False,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Json = False,
) -> None:
    """Remove dead letters for ever: one, those that a filter means, or all."""
    if letter is not None:
        found = _call("DELETE", f"/cc/dead-letters/{_part(letter)}", data_dir, api_url)
    else:
        meant = _filter(group, module, event_type, state) | {"all": every}
        found = _call("DELETE", "/cc/dead-letters", data_dir, api_url, params=meant)
    _tell(found, letter, "dropped", as_json)


@groups.command("list")
def list_groups(data_dir: DataDir = None, api_url: ApiUrl = None, as_json: Json = False) -> None:
    """List the consumer groups and how far behind each is."""
    found = _call("GET", "/cc/groups", data_dir, api_url)
    if as_json:
        show_json(found)
        return
    rows = [
        (
            one["name"],
            _or_unknown(one["consumers"]),
            str(one["lag_events"]),
            f"{one['lag_seconds']:.1f} s",
            str(one["dead_letters"]),
            str(one["definition"].get("handler", "")),
        )
        for one in found
    ]
    show_table(("group", "consumers", "events behind", "behind", "dead letters", "handler"), rows)


@groups.command("show")
def show_group(name: Name, data_dir: DataDir = None, api_url: ApiUrl = None, as_json: Json = False) -> None:
    """Show how far a group is in each module."""
    found = _call("GET", f"/cc/groups/{_part(name)}", data_dir, api_url)
    if as_json:
        show_json(found)
        return
    rows = [
        (
            one["module"],
            one["position"],
            _or_unknown(one["pending"]),
            str(one["lag_events"]),
            f"{one['lag_seconds']:.1f} s",
        )
        for one in found["modules"]
    ]
    show_table(("module", "position", "pending", "events behind", "behind"), rows)


@groups.command("forget")
def forget_group(name: Name, data_dir: DataDir = None, api_url: ApiUrl = None, as_json: Json = False) -> None:
    """Remove a group that nobody runs any more; its dead letters stay."""
    found = _call("DELETE", f"/cc/groups/{_part(name)}", data_dir, api_url)
    if as_json:
        show_json(found)
    else:
        say(f"The group {name} is forgotten.")


@projections.command("list")
def list_projections(data_dir: DataDir = None, api_url: ApiUrl = None, as_json: Json = False) -> None:
    """List the projections: state, position, how far behind."""
    found = _call("GET", "/cc/projections", data_dir, api_url)
    if as_json:
        show_json(found)
        return
    show_table(_SLOT_HEADINGS, [row for one in found for row in _slot_rows(one)])


@projections.command("show")
def show_projection(
    name: Name, data_dir: DataDir = None, api_url: ApiUrl = None, as_json: Json = False
) -> None:
    """Show one projection, and why it failed if it did."""
    found = _call("GET", f"/cc/projections/{_part(name)}", data_dir, api_url)
    _show_projection(found, as_json)


@projections.command("pause")
def pause_projection(
    name: Name, data_dir: DataDir = None, api_url: ApiUrl = None, as_json: Json = False
) -> None:
    """Stop feeding a projection after the batch under way."""
    _show_projection(_call("POST", f"/cc/projections/{_part(name)}/pause", data_dir, api_url), as_json)


@projections.command("resume")
def resume_projection(
    name: Name, data_dir: DataDir = None, api_url: ApiUrl = None, as_json: Json = False
) -> None:
    """Go on where a projection was paused, or has failed."""
    _show_projection(_call("POST", f"/cc/projections/{_part(name)}/resume", data_dir, api_url), as_json)


@projections.command("rebuild")
def rebuild_projection(
    name: Name, data_dir: DataDir = None, api_url: ApiUrl = None, as_json: Json = False
) -> None:
    """Build a projection anew from the beginning, beside what is there, which it then replaces."""
    _show_projection(_call("POST", f"/cc/projections/{_part(name)}/rebuild", data_dir, api_url), as_json)


_SLOT_HEADINGS = ("projection", "slot", "version", "state", "position", "events", "events behind", "behind")


def _slot_rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            found["name"],
            one["slot"],
            str(one["version"]),
            one["state"],
            one["position"],
            str(one["events"]),
            str(one["lag_events"]),
            f"{one['lag_seconds']:.1f} s",
        )
        for one in (found["live"], found["building"])
        if one is not None
    ]


def _show_projection(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    show_table(_SLOT_HEADINGS, _slot_rows(found))
    for one in (found["live"], found["building"]):
        if one is not None and one["error"] is not None:
            say(f"{one['slot']} failed at {one['failed_position']}: {one['error']}")


def _call(method: str, path: str, data_dir: Path | None, api_url: str | None, **more: Any) -> Any:
    from cos.cli.client import answer, api

    with api(settings(data_dir=data_dir), api_url) as client:
        return answer(client.request(method, path, **more))


def _filter(
    group: str | None, module: str | None, event_type: str | None, state: str | None
) -> dict[str, Any]:
    given = {"group": group, "module": module, "type": event_type, "state": state}
    return {name: value for name, value in given.items() if value is not None}


def _part(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def _tell(found: dict[str, Any], letter: str | None, what: str, as_json: bool) -> None:
    if as_json:
        show_json(found)
    else:
        count = 1 if letter is not None else found["count"]
        say(f"{count} dead letter{'' if count == 1 else 's'} {what}.")


def _or_unknown(value: Any) -> str:
    return "unknown" if value is None else str(value)
