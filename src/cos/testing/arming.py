"""All faults of one pytest process: made on request, counted, and healed to the last."""

from __future__ import annotations

import asyncio
import contextlib
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from cos.errors import BadInput, Conflict, CosError, Unavailable
from cos.testing.docker_host import docker_host
from cos.testing.eventually import NeverCameTrue, poll
from cos.testing.fault_kinds import ContainerFaults, PostgresFaults, ProxyFaults, RedisFaults
from cos.testing.guard.engine import Engine
from cos.testing.guard.wound import Refused
from cos.testing.lease import Lease
from cos.testing.proxied import Route, parse_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from cos.testing.kit import Kit
    from cos.testing.proxy.weather import Weather

_HEALTH_SECONDS: Final = 30.0


class Faults:
    """What the fixture `faults` gives."""

    def __init__(self, *, kit: Kit, docker: str) -> None:
        """Begin with none.

        Args:
            kit: whose servers, guard and proxy these faults use.
            docker: the Docker engine's address, as the project set it.
        """
        self._kit = kit
        self._docker = docker
        self._leases: list[Lease] = []
        self._down: dict[str, int] = {}
        self._count = 0
        self._proxies: dict[Any, ProxyFaults] = {}
        self._containers: set[tuple[str, str]] = set()
        #: The names of all faults since it was emptied, for reports.
        self.used: list[str] = []

    @cached_property
    def redis(self) -> RedisFaults:
        """Faults of the tests' Redis; starts it if need be."""
        service = self._kit.redis
        return RedisFaults("redis", armoury=self, route=self._kit.routes.get("redis"), service=service)

    @cached_property
    def postgres(self) -> PostgresFaults:
        """Faults of the tests' Postgres; starts it if need be."""
        service = self._kit.postgres
        return PostgresFaults(
            "postgres", armoury=self, route=self._kit.routes.get("postgres"), service=service
        )

    def proxy(self, address: str | tuple[str, int]) -> ProxyFaults:
        """Open a way to an address; the same address gives the same way for the whole session.

        Args:
            address: `host:port`, `unix:///path`, or a pair of host and port.

        Raises:
            BadInput: it is none of these.
        """
        to = parse_address(address)
        if to not in self._proxies:
            at = self._kit.proxy_socket(len(self._proxies)) if isinstance(to, str) else ("127.0.0.1", 0)
            route = Route(self._kit.proxy, at=at, to=to)
            self._proxies[to] = ProxyFaults(f"proxy({address})", armoury=self, route=route)
        return self._proxies[to]

    def docker(self, name: str, *, engine: str = "") -> ContainerFaults:
        """Stand for a container.

        Args:
            name: its name or id.
            engine: address of its engine, if not the usual one.
        """
        where = engine or docker_host(self._docker)
        self._containers.add((where, name))
        return ContainerFaults(name, armoury=self, engine=where)

    @property
    def armed(self) -> list[str]:
        """The names of the faults that are there now."""
        return [lease.name for lease in self._leases if not lease.healed]

    def quiet(self, *, seconds: float = _HEALTH_SECONDS) -> None:
        """Heal every fault, the last first, and wait until what was hurt is well.

        Args:
            seconds: how long that may take.

        Raises:
            Unavailable: something is not well by then; says what.
        """
        problems = []
        while self._leases:
            lease = self._leases.pop()
            try:
                lease.heal()
            except CosError as error:
                problems.append(f"{lease.name}: {error.detail}")
        if problems:
            raise Unavailable(
                f"A fault could not be healed yet ({' '.join(problems)}); the guard goes on trying."
            )
        for name, check in self._checks():
            try:
                poll(check, seconds=seconds)
            except NeverCameTrue as error:
                raise Unavailable(f"{name} was not well again after {seconds:g} s: {error}") from error

    async def aquiet(self, *, seconds: float = _HEALTH_SECONDS) -> None:
        """Do what `quiet` does without holding up the event loop."""
        await asyncio.to_thread(self.quiet, seconds=seconds)

    def arm(
        self, name: str, *, strike: Callable[[], None], heal: Callable[[], None], seconds: float
    ) -> Lease:
        """Take a server down; it comes back when the last fault that took it down has ended."""
        _check(seconds)
        server = name.partition(".")[0]

        def come_back() -> None:
            self._down[server] -= 1
            if not self._down[server]:
                heal()
                self._forget_connections(server)

        if not self._down.get(server):
            strike()
        self._down[server] = self._down.get(server, 0) + 1
        return self._lease(name, heal=come_back, seconds=seconds, timed=True)

    def arm_by_guard(self, name: str, *, kind: str, wish: dict[str, Any], seconds: float) -> Lease:
        """Let the guard note and make a fault."""
        _check(seconds)
        self._count += 1
        key = f"{self._count}-{name}"
        self._kit.guard.arm(key, kind=kind, wish=wish, seconds=seconds)
        return self._lease(name, heal=lambda: self._kit.guard.heal(key), seconds=seconds, timed=False)

    def arm_route(
        self, name: str, *, route: Route | None, fault: Callable[[Weather], Weather], seconds: float
    ) -> Lease:
        """Let the proxy make a fault."""
        _check(seconds)
        if route is None:
            raise Conflict(
                f"faults.{name}() needs the tests to go through the proxy, and they go past it: they do if a collected "
                "test asks for `faults` itself, with cos_proxy = always, and never over TLS."
            )
        self._count += 1
        key = f"{self._count}-{name}"
        route.put(key, fault, seconds=seconds)
        return self._lease(name, heal=lambda: route.take(key), seconds=seconds, timed=False)

    def _lease(self, name: str, *, heal: Callable[[], None], seconds: float, timed: bool) -> Lease:
        backstage = self._kit.backstage if timed else None
        lease = Lease(name, heal=heal, seconds=seconds, backstage=backstage)
        self._leases = [one for one in self._leases if not one.healed]
        self._leases.append(lease)
        self.used.append(name)
        return lease

    def _forget_connections(self, server: str) -> None:
        if server == "postgres" and self._kit.has("databases"):
            self._kit.databases.forget_connections()

    def _checks(self) -> list[tuple[str, Callable[[], bool]]]:
        """List what may have been hurt."""
        found: list[tuple[str, Callable[[], bool]]] = []
        if "redis" in self.__dict__:
            found.append(("Redis", self._kit.redis.answers))
        if "postgres" in self.__dict__:
            found.append(("Postgres", self._kit.postgres.answers))
        return found + [(f"The container {one[1]!r}", _Runs(*one)) for one in sorted(self._containers)]


class _Runs:
    """Whether a container runs, and is healthy if it has a health check."""

    def __init__(self, engine: str, name: str) -> None:
        self._engine = engine
        self._name = name

    def __call__(self) -> bool:
        with contextlib.suppress(Refused):
            state = Engine(self._engine).container(self._name)["State"]
            health = (state.get("Health") or {}).get("Status", "healthy")
            return bool(state["Running"] and not state["Paused"] and health == "healthy")
        return True  # it was never there, or is no more


def _check(seconds: float) -> None:
    if not 0 < seconds <= 24 * 3600:
        raise BadInput(f"A fault cannot last {seconds} seconds: give more than 0, and at most a day.")
