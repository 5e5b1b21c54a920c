"""A real receiver of webhooks on a real socket, and a COS whose pauses are short."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest

from cos.common.addresses import Allowance
from cos.memory.event import new_event
from cos.memory.webhooks.endpoint import Policy
from cos.runtime.core import Core
from cos.runtime.webhooks import Webhooks

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True)
class Call:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def n(self) -> int:
        return self.event["data"]["n"]

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """An HTTP server of a few lines: keeps what it was sent, and answers as the test says."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answers: deque[Any] = deque()
        self.always: Any = OK
        self.connections = 0
        self.open: set[asyncio.StreamWriter] = set()
        self.server: asyncio.Server | None = None
        self.sni: list[str] = []
        self.scheme = "http"

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        if tls is not None:
            self.scheme = "https"
            tls.sni_callback = lambda _socket, name, _context: self.sni.append(name)
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)

    @property
    def port(self) -> int:
        return self.server.sockets[0].getsockname()[1]

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    @property
    def numbers(self) -> list[int]:
        return [call.n for call in self.calls]

    async def stop(self) -> None:
        for writer in list(self.open):
            writer.transport.abort()
        self.server.close()
        await self.server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers["content-length"]))
                self.calls.append(Call(head[0].split(" ")[1], headers, body, time.monotonic()))
                answer = self.answers.popleft() if self.answers else self.always
                if callable(answer):
                    answer = await answer(self.calls[-1])
                if answer is None:
                    writer.transport.abort()
                    return
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()


def _answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _verify(call: Call, secret: str) -> None:
    key = base64.b64decode(secret.removeprefix("whsec_")).ljust(64, b"\0")
    text = f"{call.headers['webhook-id']}.{call.headers['webhook-timestamp']}.".encode() + call.body
    inner = hashlib.sha256(bytes(one ^ 0x36 for one in key) + text).digest()
    wanted = (
        "v1," + base64.b64encode(hashlib.sha256(bytes(one ^ 0x5C for one in key) + inner).digest()).decode()
    )
    assert wanted in call.headers["webhook-signature"].split(" ")
    assert (
        abs(int(call.headers["webhook-timestamp"]) - time.time()) < 300
    )  # house: seconds (the receiver's own rule)


@pytest.fixture
def answer() -> Callable[..., bytes]:
    """Write an answer of HTTP."""
    return _answer


@pytest.fixture
def verify() -> Callable[[Call, str], None]:
    """Check a call as a receiver does, without any code of ours: HMAC by RFC 2104, out of SHA-256."""
    return _verify


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def policy() -> Policy:
    """The rules with pauses that a test can wait for, and a breaker that stays out of the way."""
    return Policy(
        retry_seconds=(0.02, 0.04, 0.06),
        retry_after_seconds=1.0,
        deadline_seconds=5.0,
        disable_seconds=1000.0,
        lease_seconds=2.0,
        breaker_failures=1000,
        breaker_seconds=0.1,
    )


Run = Callable[..., Awaitable[Webhooks]]


@pytest.fixture
async def run(core: Core, policy: Policy) -> AsyncIterator[Run]:
    """Serve webhooks by these rules, as the one process that does."""
    async with AsyncExitStack() as stack:

        async def start(rules: Policy = policy, allow: str = "127.0.0.0/8,::1", **more: Any) -> Webhooks:
            made = Webhooks(
                database_url=core.database_url, policy=rules, allowance=Allowance.parse(allow), **more
            )
            await stack.enter_async_context(made)
            # What the API changes and the relay moves is told to these, as it is to COS's own.
            core.webhooks.dispatcher.wake = made.dispatcher.changed
            core.webhooks.announced = made.announced
            return made

        yield start


@pytest.fixture
async def core(servers: Any, settings: Any, clean: None) -> AsyncIterator[Core]:
    """A COS whose own webhooks are not served: each test serves them by its own rules."""
    chosen = settings.model_copy(update={"webhook_allow": "127.0.0.0/8,::1"})
    made = Core(settings=chosen, database_url=servers.postgres.url, redis_url=servers.redis.url)
    made.webhooks.dispatcher.turn = _idle
    async with made:
        yield made


async def _idle() -> float:
    return 60.0


@pytest.fixture
def record(core: Core) -> Callable[..., Awaitable[list[str]]]:
    """Record events with these numbers; gives their ids."""

    async def write(*numbers: int, **more: Any) -> list[str]:
        events = [
            new_event(**{"type": "step", "module": "editor", "data": {"n": n}, "subject": f"s{n}"} | more)
            for n in numbers
        ]
        return [str(one.id) for one in await core.recorder.record_many(events)]

    return write


@pytest.fixture
def hook(client: httpx.AsyncClient, receiver: Receiver) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Register a webhook at the receiver, for the events that tests record."""

    async def create(**more: Any) -> dict[str, Any]:
        body = {"url": receiver.url(), "modules": ["editor"]} | more
        made = await client.post("/cc/webhooks", json=body)
        assert made.status_code == 201, made.text
        return made.json()

    return create


@pytest.fixture
def shown(client: httpx.AsyncClient) -> Callable[..., Awaitable[dict[str, Any]]]:
    async def get(made: dict[str, Any]) -> dict[str, Any]:
        return (await client.get(f"/cc/webhooks/{made['id']}")).json()

    return get


@pytest.fixture
def becomes(shown: Any, eventually: Any) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Wait until a webhook has these members."""

    async def wait(made: dict[str, Any], **wanted: Any) -> dict[str, Any]:
        async def there() -> dict[str, Any] | None:
            found = await shown(made)
            return found if {name: found[name] for name in wanted} == wanted else None

        found: dict[str, Any] = await eventually(there)
        return found

    return wait


@pytest.fixture
def came(receiver: Receiver, eventually: Any) -> Callable[..., Awaitable[list[Call]]]:
    """Wait until so many calls have come."""

    async def wait(count: int) -> list[Call]:
        async def there() -> bool:
            return len(receiver.calls) >= count

        await eventually(there)
        return receiver.calls

    return wait


@pytest.fixture
async def letters(pg: asyncpg.Connection) -> Callable[..., Awaitable[list[Any]]]:
    async def read() -> list[Any]:
        return await pg.fetch("SELECT * FROM highway.dead_letter ORDER BY id")

    return read
