"""One COS process from start to stop: `cos up` with everything, `cos serve` and `cos worker` with their part."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any

import psutil
import structlog

import cos
from cos.common import clock
from cos.common.looper import Looper
from cos.infra.folder import DataFolder
from cos.infra.rotation import Rotation
from cos.runtime.listener import bind
from cos.runtime.rubbish import settle
from cos.runtime.servers import Servers, check_redis, given_urls
from cos.runtime.signals import Signals
from cos.runtime.telemetry import spans

if TYPE_CHECKING:
    from cos.config import Settings
    from cos.infra.server import Server
    from cos.runtime.core import Core
    from cos.runtime.server import ApiServer

_log = structlog.get_logger("cos.up")

_WATCH_SECONDS = 0.5
#: Parts of the health report that `cos status` measures itself.
MEASURED_OUTSIDE = frozenset({"postgres", "redis", "relay"})

Progress = Callable[[str], None]


class RunFile:
    """Keeps what `cos status` reads about this process true; a background part."""

    def __init__(
        self, *, folder: DataFolder, servers: Servers, api: ApiServer, core: Core, started_at: str
    ) -> None:
        """Take what is described."""
        self._folder = folder
        self._servers = servers
        self._api = api
        self._core = core
        self._started_at = started_at
        self._created = psutil.Process().create_time()
        self._written: dict[str, Any] | None = None

    async def turn(self) -> float:
        """Write the state if it has changed."""
        state = self.describe()
        if state != self._written:
            self._folder.write_run(state)
            self._written = state
        return _WATCH_SECONDS

    def describe(self) -> dict[str, Any]:
        """Give the state of this process and of its servers."""
        return {
            "version": cos.__version__,
            "pid": os.getpid(),
            "created": self._created,
            "since": self._started_at,
            "address": self._api.url,  # for who finds the folder locked
            "api": {"url": self._api.url, "pid": os.getpid()},
            "relay": {
                "state": self._core.relay.state,
                "last_error": None
                if self._core.relay_looper.last_error is None
                else str(self._core.relay_looper.last_error),
            },
            "modules": self._core.modules.describe(),
            "postgres": _server(self._servers.postgres),
            "redis": _server(self._servers.redis),
            "causes": self._causes(),
        }

    def _causes(self) -> list[str]:
        """What is not well of what only this process knows; the rest is measured by who asks."""
        report = self._core.monitor.last
        if report is None:
            return []
        return [part.cause for part in report.parts if part.cause and part.name not in MEASURED_OUTSIDE]


def _server(server: Server) -> dict[str, Any]:
    return {
        "url": server.url,
        "pid": server.pid,
        "state": server.state,
        "since": None if server.started_at is None else server.started_at.isoformat(),
        "restarts": server.restarts,
        "last_exit": server.last_exit,
    }


async def up(settings: Settings, *, progress: Progress, ready: Callable[[str], None]) -> None:
    """Run all of COS until a signal ends it.

    Args:
        settings: of this process.
        progress: told one line a step.
        ready: told the API's address once everything answers.

    Raises:
        CosError: it could not start; what had been started is stopped again.
    """
    signals = Signals(settings)
    folder = DataFolder.open(settings.data_dir)
    started_at = clock.now().isoformat()
    async with AsyncExitStack() as stack:
        lock = folder.lock({"pid": os.getpid(), "since": started_at})
        stack.callback(lock.close)
        listener = bind(settings.port, settings.host)
        stack.callback(listener.close)
        progress(f"Data        {folder.path}")
        servers = await stack.enter_async_context(
            Servers(settings=settings, folder=folder, progress=progress, meanwhile=_load)
        )
        from cos.runtime import parts  # noqa: PLC0415  (see `_load`)

        highways = parts.found(settings)
        modules = parts.found_modules(settings, highways)
        await modules.migrate(servers.postgres.url)
        telemetry = await stack.enter_async_context(spans(settings.otlp_url))
        core = await stack.enter_async_context(
            parts.Core(
                settings=settings,
                database_url=servers.postgres.url,
                redis_url=servers.redis.url,
                highways=highways,
                telemetry=telemetry,
                modules=modules,
            )
        )
        progress("Relay       running")
        _tell(core, progress)
        _reloading(stack, signals, core)
        rotation = Looper(name="logs", part=Rotation(folder=folder.logs, limits=settings))
        stack.push_async_callback(rotation.stop)
        rotation.start()
        mending = parts.Mender(monitor=core.monitor, servers=_ours(servers))
        mender = Looper(name="mender", part=mending)
        stack.push_async_callback(mender.stop)
        mender.start()
        api = await _serve(stack, core, listener)
        stack.callback(folder.clear_run)
        watch = RunFile(folder=folder, servers=servers, api=api, core=core, started_at=started_at)
        await watch.turn()
        looper = Looper(name="run-file", part=watch)
        stack.push_async_callback(looper.stop)
        looper.start()
        settle()
        ready(api.url)
        await signals.stopping.wait()
        progress("Stopping …")
        mending.continue_paused()


def _load() -> None:
    """Load the web framework and all that stands on it; takes longer than the servers take to start."""
    import_module("cos.runtime.parts")


def _ours(servers: Servers) -> dict[str, Server]:
    both = {"postgres": servers.postgres, "redis": servers.redis}
    return {name: server for name, server in both.items() if server.state != "external"}


async def serve(settings: Settings, *, progress: Progress, ready: Callable[[str], None]) -> None:
    """Run the API alone, over servers that are there already, until a signal ends it."""
    signals = Signals(settings)
    async with AsyncExitStack() as stack:
        listener = bind(settings.port, settings.host)
        stack.callback(listener.close)
        core = await _part(stack, settings, api=True, progress=progress)
        _reloading(stack, signals, core)
        api = await _serve(stack, core, listener)
        settle()
        ready(api.url)
        await signals.stopping.wait()
        progress("Stopping …")


async def worker(settings: Settings, *, progress: Progress, ready: Callable[[str], None]) -> None:
    """Run the background parts alone, over servers that are there already, until a signal ends it."""
    signals = Signals(settings)
    async with AsyncExitStack() as stack:
        core = await _part(stack, settings, api=False, progress=progress)
        _reloading(stack, signals, core)
        progress("Relay       running")
        _tell(core, progress)
        settle()
        ready("")
        await signals.stopping.wait()
        progress("Stopping …")


async def _part(stack: AsyncExitStack, settings: Settings, *, api: bool, progress: Progress) -> Core:
    from cos.runtime import parts  # noqa: PLC0415  (see `_load`)

    highways = [] if api else parts.found(settings)
    modules = parts.found_modules(settings, highways)
    database_url, redis_url = given_urls(settings, DataFolder.open(settings.data_dir))
    await check_redis(redis_url)
    applied = await parts.migrate(database_url)
    progress("Database    migrated" if applied else "Database    up to date")
    await modules.migrate(database_url)
    telemetry = await stack.enter_async_context(spans(settings.otlp_url))
    return await stack.enter_async_context(
        parts.Core(
            settings=settings,
            database_url=database_url,
            redis_url=redis_url,
            api=api,
            worker=not api,
            highways=highways,
            telemetry=telemetry,
            modules=modules,
        )
    )


def _reloading(stack: AsyncExitStack, signals: Signals, core: Core) -> None:
    """Let the core take over what a reload changes, and record each; what waits is written before the core stops."""
    from cos.runtime.reloads import Reloads  # noqa: PLC0415  (see `_load`)

    reloads = Reloads(waiting=signals.reloads, sessions=core.sessions, ring=core.doorbell.ring)
    looper = Looper(name="reloads", part=reloads)
    signals.on_reload.append(core.reload)
    signals.on_told.append(looper.wake)
    stack.push_async_callback(reloads.close)
    stack.push_async_callback(looper.stop)
    looper.start()


def _tell(core: Core, progress: Progress) -> None:
    for one in core.modules.installed:
        progress(f"Module      {one.name} ({one.package})" if one.trouble is None else one.trouble)
    groups = sorted(core.consumers.subscribers)
    if groups:
        progress(f"Subscribers {', '.join(groups)}")


async def _serve(stack: AsyncExitStack, core: Core, listener: Any) -> ApiServer:
    from cos.runtime import parts  # noqa: PLC0415  (see `_load`)

    settings = core.settings
    await parts.check_open(settings, core.sessions)
    api = parts.ApiServer(
        app=parts.with_edge(parts.create_app(core.services())),
        listener=listener,
        stop_timeout_seconds=settings.stop_timeout_seconds,
        limits=parts.ConnectionLimits(
            head_bytes=settings.max_url_bytes + settings.max_header_bytes + 8 * settings.max_headers,
            head_seconds=settings.header_timeout_seconds,
            body_seconds=settings.body_timeout_seconds,
        ),
        trusted_proxies=settings.trusted_proxies,
    )
    # Known only now where it was left to the system: webhooks must never be posted to ourselves.
    core.webhooks.outbound.own_ports.add(listener.getsockname()[1])
    stack.push_async_callback(api.stop)
    await api.start()
    return api
