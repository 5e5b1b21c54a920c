"""Posts to addresses that other people name: only where it may, to the very address that was checked, within bounds.

A name is looked up here, each address that it has is judged, and the connection is made to one that was judged: nothing
can change between the check and the connection. Host header, SNI and the certificate's check stay those of the name.
Redirects are not followed, and no proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import httpcore
import psutil

from cos.common import addresses, clock
from cos.errors import Forbidden

if TYPE_CHECKING:
    from cos.common.addresses import Address, Allowance
    from cos.common.target import Target

#: Bytes of an answer's body that are read; an answer with more costs its connection.
MOST_BODY = 64 * 1024
#: Characters of it that are kept, to tell why something was refused.
EXCERPT = 200
LOOK_UP_SECONDS = 5.0
CONNECT_SECONDS = 5.0
#: Shorter than what servers usually keep: a connection that ends while it is used again costs a failed attempt.
KEEP_SECONDS = 4.0

#: Looks up a host's addresses.
Resolve = Callable[[str, int], Awaitable[Iterable[str]]]


class Refused(Forbidden):
    """This address must not be called."""

    slug = "address-refused"


class NoAnswer(Exception):
    """The other side gave no answer; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said.

    Attributes:
        status: of HTTP.
        retry_after: the header of that name, as it came.
        excerpt: the beginning of the body as printable text.
        milliseconds: from the call to the end of the answer.
    """

    status: int
    retry_after: str | None
    excerpt: str
    milliseconds: float


async def system_addresses(host: str, port: int) -> list[str]:
    """Ask this machine's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class Outbound:
    """Calls what it may; belongs to one event loop."""

    def __init__(
        self,
        *,
        allowance: Allowance,
        connections: int,
        ca_file: str | None = None,
        resolve: Resolve = system_addresses,
    ) -> None:
        """Take the rules; nothing connects yet.

        Args:
            allowance: which addresses may be called.
            connections: most at once.
            ca_file: certificate authorities in PEM that are trusted besides the public ones.
            resolve: looks up names.
        """
        self.own_ports: set[int] = set()
        self._allowance = allowance
        self._connections = connections
        self._ca_file = ca_file
        self._resolve = resolve
        self._plain: httpcore.AsyncConnectionPool | None = None
        self._secure: httpcore.AsyncConnectionPool | None = None

    async def check(self, target: Target) -> None:
        """Prove that a target may be called, as far as that is known now.

        Raises:
            Refused: it must not; a name that cannot be looked up now is judged when it is called.
        """
        try:
            await self.addresses_of(target.host, target.port)
        except NoAnswer:
            return

    async def addresses_of(self, host: str, port: int) -> list[str]:
        """Give the addresses of a host that may be called.

        Raises:
            Refused: it has none of these.
            NoAnswer: it has none at all, or the resolver does not answer.
        """
        literal = addresses.parse(host)
        found = [literal] if literal is not None else await self._look_up(host, port)
        judged = [(one, self._refusal(one, port)) for one in found]
        good = [str(one) for one, why in judged if why is None]
        if not good:
            one, why = judged[0]
            named = f"{host} is {why}" if literal is not None else f"{host} leads to {one}, which is {why}"
            raise Refused(f"{named}: webhooks go there only where COS_WEBHOOK_ALLOW says so.")
        return good

    async def post(
        self, target: Target, headers: Mapping[str, str], body: bytes, *, deadline_seconds: float
    ) -> Answer:
        """Post once.

        Args:
            target: where to.
            headers: besides Host and Content-Length.
            body: as it is sent.
            deadline_seconds: for everything, from the look-up to the end of the answer.

        Raises:
            Refused: the target must not be called.
            NoAnswer: why there is no answer, in a sentence.
        """
        began = clock.monotonic()
        try:
            async with asyncio.timeout(deadline_seconds):
                status, told, excerpt = await self._post(target, headers, body)
        except TimeoutError:
            raise NoAnswer(f"No answer within {deadline_seconds:g} s.") from None
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            raise NoAnswer(_sentence(error)) from error
        return Answer(status, told, excerpt, 1000 * (clock.monotonic() - began))

    async def close(self) -> None:
        """Close every connection."""
        for pool in (self._plain, self._secure):
            if pool is not None:
                await pool.aclose()
        self._plain = self._secure = None

    async def _post(
        self, target: Target, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, str | None, str]:
        pool = self._pool(target)
        url = httpcore.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.path.encode(),
        )
        timeouts = {"connect": CONNECT_SECONDS}
        extensions = {"timeout": timeouts}
        async with pool.stream(
            "POST", url, headers=list(headers.items()), content=body, extensions=extensions
        ) as answer:
            told = next(
                (value.decode("latin-1") for name, value in answer.headers if name.lower() == b"retry-after"),
                None,
            )
            return answer.status, told, _printable(await _beginning(answer))

    def _pool(self, target: Target) -> httpcore.AsyncConnectionPool:
        make = partial(
            httpcore.AsyncConnectionPool,
            max_connections=self._connections,
            keepalive_expiry=KEEP_SECONDS,
            network_backend=_Checked(self),
        )
        if target.scheme == "http":
            self._plain = self._plain or make()
            return self._plain
        if self._secure is None:
            self._secure = make(ssl_context=_trust(self._ca_file))
        return self._secure

    def _refusal(self, address: Address, port: int) -> str | None:
        if port in self.own_ports and _is_own(address):
            return "COS's own API"
        return self._allowance.refusal(address)

    async def _look_up(self, host: str, port: int) -> list[Address]:
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                texts = await self._resolve(host, port)
        except TimeoutError:
            raise NoAnswer(f"The name {host} was not looked up within {LOOK_UP_SECONDS:g} s.") from None
        except (OSError, UnicodeError) as error:
            raise NoAnswer(f"The name {host} was not found: {_said(error)}.") from error
        found = [one for one in map(addresses.parse, texts) if one is not None]
        if not found:
            raise NoAnswer(f"The name {host} has no address.")
        return found


class _Checked(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were judged, never to a name."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (the signature is httpcore's)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Look the host up, judge, and connect to the first address that may be called and answers."""
        failed: Exception | None = None
        for address in await self._outbound.addresses_of(host, port):
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore.ConnectError(f"{host} has no address.")

    async def sleep(self, seconds: float) -> None:
        """Wait, for httpcore."""
        await asyncio.sleep(seconds)


async def _beginning(answer: httpcore.Response) -> bytes:
    """Give the body, or as much of it as is read; leaving the answer then closes its connection."""
    body = bytearray()
    async for chunk in answer.aiter_stream():
        body += chunk
        if len(body) > MOST_BODY:
            break
    return bytes(body[: 4 * EXCERPT])


def _printable(body: bytes) -> str:
    text = " ".join(body.decode("utf-8", "replace").split())
    return "".join(one if one.isprintable() else "?" for one in text)[:EXCERPT]


def _trust(ca_file: str | None) -> ssl.SSLContext:
    import httpx  # noqa: PLC0415  (knows the public authorities; loaded with the first https webhook)

    context = httpx.create_ssl_context(trust_env=False)
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def _is_own(address: Address) -> bool:
    judged = {address, addresses.carried(address) or address}
    if any(one.is_loopback or one.is_unspecified for one in judged):
        return True
    ours = {one.address.partition("%")[0] for some in psutil.net_if_addrs().values() for one in some}
    return any(str(one) in ours for one in judged)


def _sentence(error: Exception) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    if isinstance(error, httpcore.ConnectTimeout):
        return f"No connection within {CONNECT_SECONDS:g} s."
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {_said(cause)}."
    if isinstance(error, httpcore.ConnectError):
        return f"No connection: {_said(cause)}."
    return f"The connection broke: {_said(cause)}."


def _said(error: BaseException) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(str(said).split())[:200].rstrip(".") or type(error).__name__
