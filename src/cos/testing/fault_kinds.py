"""What can be done to a server, to a way to one, and to a container; each gives a lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from cos.errors import Conflict
from cos.testing import proxied

if TYPE_CHECKING:
    from collections.abc import Callable

    from cos.testing.lease import Lease
    from cos.testing.postgres import PostgresService
    from cos.testing.proxied import Route
    from cos.testing.proxy.weather import Weather
    from cos.testing.redis import RedisService

DEADLINE_SECONDS: Final = 30.0


class Armoury(Protocol):
    """What makes faults and keeps their leases."""

    def arm(
        self, name: str, *, strike: Callable[[], None], heal: Callable[[], None], seconds: float
    ) -> Lease:
        """Make a fault that this process ends itself, and that ends with this process."""
        ...

    def arm_by_guard(self, name: str, *, kind: str, wish: dict[str, Any], seconds: float) -> Lease:
        """Have the guard make a fault that would outlive this process."""
        ...

    def arm_route(
        self, name: str, *, route: Route | None, fault: Callable[[Weather], Weather], seconds: float
    ) -> Lease:
        """Make a fault on a way; None when the tests go past the proxy."""
        ...


class WayFaults:
    """Faults on the way to a server. `seconds` is when the fault ends by itself, asked or not."""

    def __init__(self, name: str, *, armoury: Armoury, route: Route | None) -> None:
        """Stand for the way.

        Args:
            name: for messages and reports.
            armoury: makes the faults.
            route: through the proxy.
        """
        self._name = name
        self._armoury = armoury
        self._route = route

    def slow(self, *, latency: float, jitter: float = 0.0, seconds: float = DEADLINE_SECONDS) -> Lease:
        """Let each piece of data wait `latency` ± `jitter` seconds, each way; the order stays."""
        return self._arm("slow", proxied.slow(latency=latency, jitter=jitter), seconds)

    def bandwidth(self, bytes_per_second: float, *, seconds: float = DEADLINE_SECONDS) -> Lease:
        """Let only so many bytes a second through, each way."""
        return self._arm("bandwidth", proxied.narrow(bytes_per_second), seconds)

    def cut(self, *, seconds: float = DEADLINE_SECONDS) -> Lease:
        """Close every connection and refuse new ones, as a server that is down."""
        return self._arm("cut", proxied.cut, seconds)

    def reset(self, *, seconds: float = DEADLINE_SECONDS) -> Lease:
        """Break every connection off; new ones as soon as they say something."""
        return self._arm("reset", proxied.reset, seconds)

    def blackhole(self, *, seconds: float = DEADLINE_SECONDS) -> Lease:
        """Let nothing through and say nothing; what was sent meanwhile arrives when it ends."""
        return self._arm("blackhole", proxied.blackhole, seconds)

    def _arm(self, what: str, fault: Callable[[Weather], Weather], seconds: float) -> Lease:
        return self._armoury.arm_route(
            f"{self._name}.{what}", route=self._route, fault=fault, seconds=seconds
        )


class ProxyFaults(WayFaults):
    """A way to any TCP or unix-socket address; connect to `address` instead."""

    def __init__(self, name: str, *, armoury: Armoury, route: Route) -> None:
        """Stand for the way; see `WayFaults`."""
        super().__init__(name, armoury=armoury, route=route)
        self.address = route.address

    @property
    def host(self) -> str:
        """The host to connect to, or the path of the unix socket."""
        return self.address if isinstance(self.address, str) else self.address[0]

    @property
    def port(self) -> int:
        """The port to connect to; 0 for a unix socket."""
        return 0 if isinstance(self.address, str) else self.address[1]


class ServerFaults(WayFaults):
    """Faults of a server of the kit, and of the way to it."""

    def __init__(
        self, name: str, *, armoury: Armoury, route: Route | None, service: PostgresService | RedisService
    ) -> None:
        """Stand for the server.

        Args:
            name: "postgres" or "redis".
            armoury: makes the faults.
            route: through the proxy; None when the tests go past it.
            service: the server.
        """
        super().__init__(name, armoury=armoury, route=route)
        self._service = service

    def stop(self, *, seconds: float = DEADLINE_SECONDS) -> Lease:
        """Shut the server down in good order; it is started again when this ends."""
        self._ours("stop")
        return self._armoury.arm(
            f"{self._name}.stop", strike=self._service.stop, heal=self._service.start, seconds=seconds
        )

    def kill(self, *, seconds: float = DEADLINE_SECONDS) -> Lease:
        """End the server with SIGKILL; it is started again when this ends."""
        self._ours("kill")
        return self._armoury.arm(
            f"{self._name}.kill", strike=self._service.kill, heal=self._service.start, seconds=seconds
        )

    def freeze(self, *, seconds: float = DEADLINE_SECONDS) -> Lease:
        """Stop the server's processes where they stand: connections are taken and never answered."""
        wish = {"pid": self._pid("freeze")}
        return self._armoury.arm_by_guard(f"{self._name}.freeze", kind="frozen", wish=wish, seconds=seconds)

    def out_of_memory(self, *, seconds: float = DEADLINE_SECONDS) -> Lease:
        """Leave the server no memory: Redis refuses writes with OOM, Postgres what needs memory with 53200."""
        raise NotImplementedError

    def _ours(self, verb: str) -> None:
        if self._service.server is None:
            raise Conflict(
                f"faults.{self._name}.{verb}() needs a server that the kit runs, and "
                f"cos_{self._name}_url names another: "
                "use cut(), blackhole() or slow(), or faults.docker() if it is a container."
            )

    def _pid(self, verb: str) -> int:
        self._ours(verb)
        if self._service.pid is None:
            raise Conflict(f"faults.{self._name}.{verb}() found the server down: heal the other fault first.")
        return self._service.pid


class RedisFaults(ServerFaults):
    """Faults of the tests' Redis."""

    def out_of_memory(self, *, seconds: float = DEADLINE_SECONDS) -> Lease:
        """Let Redis refuse every write with OOM, as at its limit; reads go on."""
        parts = urlsplit(self._service.direct if isinstance(self._service.direct, str) else "")
        if parts.scheme == "rediss":
            raise Conflict(
                "faults.redis.out_of_memory() does not speak TLS: name the Redis as redis:// for it."
            )
        path = unquote(parts.path) if parts.scheme == "unix" else ""
        wish = {
            "path": path,
            "host": parts.hostname or "localhost",
            "port": parts.port or 6379,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or dict(parse_qsl(parts.query)).get("password", "")),
        }
        return self._armoury.arm_by_guard(
            f"{self._name}.out_of_memory", kind="full-redis", wish=wish, seconds=seconds
        )


class PostgresFaults(ServerFaults):
    """Faults of the tests' Postgres."""

    def out_of_memory(self, *, seconds: float = DEADLINE_SECONDS) -> Lease:
        """Give Postgres no more memory than it has: what needs more fails with 53200, and so may new connections."""
        wish = {"pid": self._pid("out_of_memory")}
        return self._armoury.arm_by_guard(
            f"{self._name}.out_of_memory", kind="starved", wish=wish, seconds=seconds
        )


class ContainerFaults:
    """Faults of a Docker container, made and healed by the guard through the Docker Engine API."""

    def __init__(self, name: str, *, armoury: Armoury, engine: str) -> None:
        """Stand for the container.

        Args:
            name: its name or id.
            armoury: makes the faults.
            engine: the engine's address.
        """
        self._name = name
        self._armoury = armoury
        self._engine = engine

    def pause(self, *, seconds: float = DEADLINE_SECONDS) -> Lease:
        """Pause it; unpaused when this ends."""
        return self._arm("pause", seconds)

    def stop(self, *, seconds: float = DEADLINE_SECONDS) -> Lease:
        """Stop it in good order; started when this ends."""
        return self._arm("stop", seconds)

    def kill(self, *, seconds: float = DEADLINE_SECONDS) -> Lease:
        """Kill it; started when this ends."""
        return self._arm("kill", seconds)

    def disconnect(self, *, seconds: float = DEADLINE_SECONDS) -> Lease:
        """Take it off its networks; connected again, with its addresses and names, when this ends."""
        return self._arm("disconnect", seconds)

    def _arm(self, verb: str, seconds: float) -> Lease:
        wish = {"engine": self._engine, "name": self._name, "verb": verb}
        return self._armoury.arm_by_guard(
            f"docker({self._name}).{verb}", kind="container", wish=wish, seconds=seconds
        )
