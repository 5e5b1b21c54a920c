"""What a package says of the module that it adds to COS: routes, tables, subscribers, settings, health.

    module = Module(name="notes", router=router, highway=highway, settings=Settings, migrations=Path(…))

An entry point of the group `cos.modules` names it. Nothing here connects or runs: the runtime checks each module,
brings its tables up to date and mounts it, or says in words why it does not run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from cos.common.health import Source
from cos.errors import BadSetting
from cos.memory.highway import Highway

#: Also a part of the names of tables, routes and variables.
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a module's own health may use.

    Attributes:
        settings: the module's own, checked; None where it has none.
        sessions: makes a session.
    """

    settings: Any
    sessions: async_sessionmaker[AsyncSession]


@dataclass(frozen=True, kw_only=True)
class Module:
    """What one package adds.

    Attributes:
        name: of the module and of its entry point: a small letter, then small letters, digits and `_`.
        router: its routes, mounted under `/modules/NAME`.
        highway: its subscribers and projections; or what makes them from its settings.
        settings: a pydantic model; each field is `COS_MODULE_NAME_FIELD`, or a line of the table `[module.NAME]` of
            the settings file.
        migrations: the folder whose `versions` are alembic's revisions of the schema `module_NAME`.
        health: makes what measures its own parts.
    """

    name: str
    router: APIRouter | None = None
    highway: Highway | Callable[[Any], Highway] | None = None
    settings: type[BaseModel] | None = None
    migrations: Path | None = None
    health: Callable[[Context], Source] | None = None

    def __post_init__(self) -> None:
        """Check the name; raises BadSetting."""
        if NAME.fullmatch(self.name) is None:
            raise BadSetting(
                f"A module cannot be called {ascii(self.name)[:80]}: a small letter, then small letters, digits and _, "
                "at most 40 characters."
            )

    @property
    def schema(self) -> str:
        """Give the Postgres schema that is the module's own."""
        return f"module_{self.name}"

    @property
    def prefix(self) -> str:
        """Give the path under which its routes are."""
        return f"/modules/{self.name}"


def mount(app: FastAPI, module: Module) -> None:
    """Add a module's routes to an app."""
    if module.router is not None:
        app.include_router(module.router, prefix=module.prefix, tags=[module.name])


def check_routes(module: Module) -> None:
    """Describe the module's routes alone, so that what cannot be described keeps none but itself from running."""
    alone = FastAPI()
    mount(alone, module)
    get_openapi(title=module.name, version="0", routes=alone.routes)
