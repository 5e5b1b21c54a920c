"""The modules that installed packages add: found, checked, migrated; one that cannot run is named and left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

import structlog

from cos.backend.module import Context, Module, check_routes
from cos.common.health import Part, Source, State
from cos.errors import CosError, DiskFull, PostgresUnreachable, WrongPassword
from cos.memory.highway import Highway
from cos.migrations.modules import migrate_module
from cos.runtime.module_settings import load_module_settings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from cos.config import Settings

_log = structlog.get_logger("cos.modules")

GROUP: Final = "cos.modules"
_DOING: Final = "COS runs without it. Mend, upgrade or remove the package, then restart COS."


@dataclass(frozen=True, kw_only=True)
class Installed:
    """One module as it was found.

    Attributes:
        name: of its entry point.
        package: that brings it, with its version.
        module: what it says of itself; None where that could not be loaded.
        settings: its own, checked; None where it has none.
        highway: its subscribers and projections.
        trouble: why it does not run, in a sentence; None when it does.
    """

    name: str
    package: str
    module: Module | None = None
    settings: Any = None
    highway: Highway | None = None
    trouble: str | None = None

    @property
    def upgrade(self) -> str:
        """Give the command that installs a newer one."""
        return f"pip install --upgrade {self.package.split(maxsplit=1)[0]}"


class Modules:
    """All modules of a process. A source of health: it tells of those that do not run."""

    name = "modules"

    def __init__(self, installed: Iterable[Installed] = ()) -> None:
        """Take what was found."""
        self.installed = list(installed)

    @property
    def running(self) -> list[Installed]:
        """Those that run."""
        return [one for one in self.installed if one.trouble is None]

    @property
    def highways(self) -> list[Highway]:
        """What those that run subscribe to."""
        return [one.highway for one in self.running if one.highway is not None]

    async def migrate(self, url: str) -> None:
        """Bring the tables of each up to date, one after the other; one that cannot be is left out.

        Raises:
            PostgresUnreachable: which is not a module's fault.
            WrongPassword: likewise.
        """
        self.installed = [await _migrated(one, url) for one in self.installed]

    async def measure(self) -> Sequence[Part]:
        """Name those that do not run."""
        return [
            Part(
                name=f"module.{one.name}",
                title=f"Module {one.name}",
                state=State.DEGRADED if one.trouble else State.OK,
                cause=one.trouble,
                doing=_DOING if one.trouble else None,
            )
            for one in self.installed
        ]

    def describe(self) -> dict[str, Any]:
        """Give them as JSON values, by name."""
        return {
            one.name: {
                "package": one.package,
                "state": "failed" if one.trouble else "running",
                "error": one.trouble,
            }
            for one in self.installed
        }


class OwnHealth:
    """What a module measures of itself, under its own name, and never vital: COS records without it."""

    def __init__(self, *, name: str, make: Callable[[], Source]) -> None:
        """Take what makes the module's source; called at the first measurement, so that a fault is told there."""
        self.name = f"module.{name}"
        self._make = make
        self._source: Source | None = None

    async def measure(self) -> Sequence[Part]:
        """Measure; may raise, which makes it unknown."""
        self._source = self._source or self._make()
        return [
            replace(part, name=f"{self.name}.{part.name}", vital=False)
            for part in await self._source.measure()
        ]


def found(settings: Settings, others: Iterable[Highway] = ()) -> Modules:
    """Load what the entry points of the group `cos.modules` name, and check it.

    Args:
        settings: of this process.
        others: highways that run anyway, whose groups and projections are taken.
    """
    points = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
    return checked([_loaded(point) for point in points], settings, others)


def given(modules: Iterable[Module], settings: Settings) -> Modules:
    """Check modules that a program has at hand; for tests of a package that is not installed."""
    return checked([Installed(name=one.name, package=one.name, module=one) for one in modules], settings, ())


def checked(installed: Iterable[Installed], settings: Settings, others: Iterable[Highway]) -> Modules:
    """Check each, in order: the first of two that want the same name or group gets it."""
    everything = Highway()
    for highway in others:
        _add(everything, highway)
    done: list[Installed] = []
    for one in installed:
        after = _checked(one, settings, everything, {other.name for other in done})
        if after.trouble:
            _log.warning("module_left_out", module=one.name, cause=after.trouble)
        done.append(after)
    return Modules(done)


def own_health(modules: Modules, sessions: async_sessionmaker[AsyncSession]) -> Iterator[OwnHealth]:
    """Give the sources of those that measure themselves."""
    for one in modules.running:
        if one.module is not None and one.module.health is not None:
            context = Context(settings=one.settings, sessions=sessions)
            yield OwnHealth(name=one.name, make=partial(one.module.health, context))


def _loaded(point: EntryPoint) -> Installed:
    package = "?" if point.dist is None else f"{point.dist.name} {point.dist.version}"
    installed = Installed(name=point.name, package=package)
    try:
        module = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever it is, COS runs without the module)
        return _failed(installed, "cannot be loaded", error)
    if not isinstance(module, Module):
        return _failed(installed, f"is {type(module).__name__}, not a cos.module.Module: {point.value}")
    if module.name != point.name:
        return _failed(installed, f"calls itself {module.name}; its entry point must have the same name")
    return replace(installed, module=module)


def _checked(one: Installed, settings: Settings, everything: Highway, names: set[str]) -> Installed:
    module = one.module
    if module is None:
        return one
    if module.name in names:
        return _failed(one, "is there twice: another package brings one of that name")
    try:
        own = (
            None if module.settings is None else load_module_settings(settings, module.name, module.settings)
        )
        highway = module.highway(own) if callable(module.highway) else module.highway
        if highway is not None:
            _add(everything, highway)
        check_routes(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever it is, COS runs without the module)
        return _failed(one, "cannot be used", error)
    return replace(one, settings=own, highway=highway)


def _add(everything: Highway, highway: Highway) -> None:
    """Add all of it or nothing; raises BadSetting where a name is taken."""
    trial = Highway()
    trial.subscriptions[:] = everything.subscriptions
    trial.projections[:] = everything.projections
    for subscription in highway.subscriptions:
        trial.add(subscription)
    for projection in highway.projections:
        trial.add_projection(projection)
    everything.subscriptions, everything.projections = trial.subscriptions, trial.projections


async def _migrated(one: Installed, url: str) -> Installed:
    module = one.module
    if one.trouble or module is None or module.migrations is None:
        return one
    try:
        applied = await migrate_module(
            url, name=module.name, schema=module.schema, folder=module.migrations, upgrade=one.upgrade
        )
    except (PostgresUnreachable, DiskFull, WrongPassword):
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever it is, COS runs without the module)
        after = _failed(one, "has tables that could not be brought up to date", error)
        _log.warning("module_left_out", module=one.name, cause=after.trouble)
        return after
    if applied:
        _log.info("module_migrated", module=one.name, schema=module.schema)
    return one


def _failed(one: Installed, what: str, error: BaseException | None = None) -> Installed:
    """Say why it does not run, in one sentence."""
    if error is None:
        why = ""
    elif isinstance(error, CosError):
        why = f": {error.detail}"
    else:
        # The first line says what; what follows it (a statement, a link) is for its author's own tests.
        said = (str(error).strip().splitlines() or [""])[0][:300]
        why = f": {type(error).__name__}: {said}" if said else f": {type(error).__name__}"
    sentence = f"The module {one.name} of {one.package} {what}{why}".rstrip(".")
    return replace(one, trouble=f"{sentence}.")
