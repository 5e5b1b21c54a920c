"""The commands about webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cos.cli.options import ApiUrl, DataDir, Json, settings
from cos.cli.screen import fail, say, show_json, show_table

if TYPE_CHECKING:
    from pathlib import Path

webhooks = typer.Typer(no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id.")]
FromNow = Annotated[
    bool,
    typer.Option("--from-now", help="Skip what was recorded meanwhile; without it, go on where it stood."),
]
Modules = Annotated[
    list[str] | None, typer.Option("--module", "-m", help="Only events of this module; may be given again.")
]
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type", "-t", help="Only events of this type; a trailing * matches more; may be given again."
    ),
]
Subjects = Annotated[
    list[str] | None, typer.Option("--subject", help="Only events about this subject; may be given again.")
]

_SHOWN_URL = 60


def add_to(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    app.add_typer(webhooks, name="webhook", help="Webhooks: URLs that get events by HTTP POST.")


@webhooks.command("create")
def create(
    url: Annotated[str, typer.Argument(help="Where events are posted to, https or http.")],
    description: Annotated[str, typer.Option("--description", "-d", help="For people.")] = "",
    module: Modules = None,
    event_type: Types = None,
    subject: Subjects = None,
    after: Annotated[
        str | None,
        typer.Option(
            "--after", help="Begin after this position (0-0: with the oldest event); else from now on."
        ),
    ] = None,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Json = False,
) -> None:
    """Have events posted to a URL; prints the secret, which is never shown again."""
    body = {
        "url": url,
        "description": description,
        "modules": module or [],
        "types": event_type or [],
        "subjects": subject or [],
    }
    if after is not None:
        body["after"] = after
    made = _call("POST", "", data_dir, api_url, json=body)
    _show(made, as_json)


@webhooks.command("list")
def list_webhooks(
    state: Annotated[
        str | None, typer.Option("--state", help="In this state: active, failing, paused or disabled.")
    ] = None,
    before: Annotated[str | None, typer.Option("--before", help="Older than this webhook.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 100,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Json = False,
) -> None:
    """List webhooks, newest first."""
    wanted = {"state": state, "before": before, "limit": limit}
    params = {name: value for name, value in wanted.items() if value is not None}
    found = _call("GET", "", data_dir, api_url, params=params)
    if as_json:
        show_json(found)
        return
    rows = [
        (
            one["id"],
            one["state"],
            one["url"][:_SHOWN_URL],
            str(one["delivered"]),
            str(one["dead_letters"]),
            one["position"],
            one["reason"] or one["error"] or "",
        )
        for one in found["webhooks"]
    ]
    show_table(("webhook", "state", "url", "delivered", "dead letters", "position", "reason"), rows)
    if found["next"] is not None:
        say(f"There are more: --before {found['next']}")


@webhooks.command("show")
def show(
    webhook: Id,
    attempts: Annotated[
        int, typer.Option("--attempts", "-n", min=1, max=1000, help="How many of its last tries.")
    ] = 10,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Json = False,
) -> None:
    """Show one webhook, and its last tries."""
    found = _call("GET", f"/{_part(webhook)}", data_dir, api_url)
    tried = _call("GET", f"/{_part(webhook)}/attempts", data_dir, api_url, params={"limit": attempts})
    if as_json:
        show_json(found | tried)
        return
    _show(found, as_json=False)
    rows = [
        (
            one["at"],
            one["type"],
            one["event_id"],
            str(one["attempt"]),
            "delivered" if one["delivered"] else "failed",
            "" if one["status"] is None else str(one["status"]),
            f"{one['duration_ms']:.0f} ms",
            one["error"] or "",
        )
        for one in tried["attempts"]
    ]
    if rows:
        say("")
        show_table(("at", "type", "event", "try", "", "status", "took", "error"), rows)


@webhooks.command("test")
def send_test(webhook: Id, data_dir: DataDir = None, api_url: ApiUrl = None, as_json: Json = False) -> None:
    """Send a webhook.test now and tell what came of it; ends with 1 where it was not taken."""
    found = _call("POST", f"/{_part(webhook)}/test", data_dir, api_url)
    if as_json:
        show_json(found)
    elif found["delivered"]:
        say(f"Delivered: answered {found['status']} in {found['duration_ms']:.0f} ms.")
    else:
        fail(found["error"])
    if not found["delivered"]:
        raise typer.Exit(1)


@webhooks.command("pause")
def pause(
    webhook: Id,
    reason: Annotated[str | None, typer.Option("--reason", help="Shown with it.")] = None,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Json = False,
) -> None:
    """Stop deliveries after the one under way; its place in the log stays."""
    _show(_call("POST", f"/{_part(webhook)}/pause", data_dir, api_url, json={"reason": reason}), as_json)


@webhooks.command("resume")
def resume(
    webhook: Id,
    from_now: FromNow = False,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Json = False,
) -> None:
    """Deliver again what was paused."""
    _show(_call("POST", f"/{_part(webhook)}/resume", data_dir, api_url, json=_begin(from_now)), as_json)


@webhooks.command("enable")
def enable(
    webhook: Id,
    from_now: FromNow = False,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Json = False,
) -> None:
    """Deliver again what COS disabled."""
    _show(_call("POST", f"/{_part(webhook)}/enable", data_dir, api_url, json=_begin(from_now)), as_json)


@webhooks.command("rotate")
def rotate(
    webhook: Id,
    overlap: Annotated[
        float | None,
        typer.Option(
            "--overlap-seconds", help="How long the old secret signs too; else as the settings say."
        ),
    ] = None,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Json = False,
) -> None:
    """Exchange the secret; prints the new one, which is never shown again."""
    body = {"overlap_seconds": overlap}
    _show(_call("POST", f"/{_part(webhook)}/rotate", data_dir, api_url, json=body), as_json)


@webhooks.command("delete")
def delete(webhook: Id, data_dir: DataDir = None, api_url: ApiUrl = None, as_json: Json = False) -> None:
    """Delete a webhook; its dead letters stay."""
    found = _call("DELETE", f"/{_part(webhook)}", data_dir, api_url)
    if as_json:
        show_json(found)
    else:
        say(f"The webhook to {found['url']} is deleted.")


def _begin(from_now: bool) -> dict[str, str]:
    return {"begin": "now" if from_now else "where_it_stood"}


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    for name, value in found.items():
        said = ", ".join(value) if isinstance(value, list) else "" if value is None else value
        say(f"{name:<18}{said}".rstrip())


def _call(method: str, path: str, data_dir: Path | None, api_url: str | None, **more: Any) -> Any:
    from cos.cli.client import answer, api

    with api(settings(data_dir=data_dir), api_url) as client:
        return answer(client.request(method, f"/cc/webhooks{path}", **more))


def _part(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
