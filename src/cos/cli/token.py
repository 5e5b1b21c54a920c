"""The commands that make, list and revoke the API's tokens; whoever may use the data folder may use them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cos.cli.options import ConfigFile, DataDir, Json, settings
from cos.cli.screen import say, show_json, show_table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from cos.backend.access.schemas import TokenMade
    from cos.config import Settings

app = typer.Typer(no_args_is_help=True)

Found = TypeVar("Found")
_DURATION = re.compile(r"(\d{1,4})d")


def add_to(tree: typer.Typer) -> None:
    """Add this group to the tree."""
    tree.add_typer(app, name="token", help="Tokens of the API: who may read, write, administer.")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the token is for; one living token has a name.")],
    scope: Annotated[
        str, typer.Option("--scope", help="read; write: records too; admin: everything.")
    ] = "read",
    expires: Annotated[
        str | None, typer.Option("--expires", help="How long it lives, such as 90d; default: for ever.")
    ] = None,
    save: Annotated[
        bool,
        typer.Option("--save", help="Keep it in the data folder (0600), for the command line; show nothing."),
    ] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make a token and show it, this once; COS need not run."""
    from cos.backend.access import service

    given = settings(data_dir=data_dir, config=config)
    wanted = _wanted(name, scope, expires)
    made: TokenMade = _with(given, lambda db: service.create_token(db, wanted))
    if save:
        from cos.cli.credentials import keep

        say(f"The token {made.name} ({made.scope}) is kept in {keep(given, made.token)}")
    elif as_json:
        show_json(made.model_dump(mode="json"))
    else:
        say(made.token)


@app.command("list")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Expired and revoked ones too.")] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """List the tokens, newest first, without their secrets."""
    from cos.backend.access import service

    found = _with(settings(data_dir=data_dir, config=config), lambda db: service.list_tokens(db, ended=every))
    if as_json:
        show_json([one.model_dump(mode="json") for one in found])
        return
    show_table(
        ("id", "name", "scope", "state", "created", "expires", "last used"),
        [
            (
                one.id,
                one.name,
                one.scope,
                one.state,
                _short(one.created_at),
                _short(one.expires_at) or "never",
                _short(one.last_used_at) or "never",
            )
            for one in found
        ],
    )


@app.command("revoke")
def revoke(
    which: Annotated[str, typer.Argument(metavar="TOKEN", help="Its name or its id.")],
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """End a token and its sign-ins, for good; a COS that runs refuses it within two seconds."""
    from cos.backend.access import service

    gone = _with(settings(data_dir=data_dir, config=config), lambda db: service.revoke_token(db, which))
    if as_json:
        show_json(gone.model_dump(mode="json"))
    else:
        say(f"{gone.name} ({gone.id}) is revoked.")


def _wanted(name: str, scope: str, expires: str | None) -> Any:
    from pydantic import ValidationError

    from cos.backend.access.schemas import TokenIn
    from cos.errors import BadInput

    days = None
    if expires is not None:
        found = _DURATION.fullmatch(expires)
        if found is None:
            raise BadInput(f"--expires {expires} is not understood: give days, such as 90d.")
        days = int(found[1])
    try:
        return TokenIn.model_validate({"name": name, "scope": scope, "expires_in_days": days})
    except ValidationError as error:
        wrong = error.errors()[0]
        what = {"expires_in_days": "--expires", "scope": "--scope", "name": "NAME"}[str(wrong["loc"][0])]
        raise BadInput(f"{what} {wrong['input']!r} cannot be used: {wrong['msg']}.") from None


def _with(given: Settings, work: Callable[[AsyncSession], Awaitable[Found]]) -> Found:
    from cos.runtime.tokens import token_database

    async def run() -> Found:
        async with token_database(given) as db:
            return await work(db)

    return asyncio.run(run())


def _short(time: Any) -> str:
    return "" if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M")
