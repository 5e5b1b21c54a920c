"""Posting only where it may: to the very address that was judged, whatever a name leads to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cos.common.addresses import Allowance
from cos.common.outbound import NoAnswer, Outbound, Refused
from cos.common.target import Target

TLS = Path(__file__).parents[2] / "data" / "webhook_tls"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers every request with 200, and keeps what it was asked."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.names: list[str | None] = []
        self.port = 0
        self.open: set[asyncio.StreamWriter] = set()

    async def closed(self) -> bool:
        return not self.open

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(OK)
        except (OSError, asyncio.IncompleteReadError):
            self.open.discard(writer)
            writer.close()


@pytest.fixture
async def serve(eventually) -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    listening = []

    async def start(host: str = "127.0.0.1", *, tls: bool = False) -> Server:
        made = Server()
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(TLS / "server.pem")
            context.sni_callback = lambda _socket, name, _context: made.names.append(name)
        listener = await asyncio.start_server(made.serve, host, 0, ssl=context)
        made.port = listener.sockets[0].getsockname()[1]
        listening.append((listener, made))
        return made

    yield start
    for listener, made in listening:
        listener.close()
        for writer in made.open:
            writer.transport.abort()
        await eventually(made.closed)


@pytest.fixture
async def outbound() -> AsyncIterator[Callable[..., Outbound]]:
    """Make one whose resolver knows these names, each with what it answers the first time, the second, and so on."""
    made = []

    def make(allow: str = "127.0.0.0/8", names: dict[str, list[Any]] | None = None, **more: Any) -> Outbound:
        asked = {name: list(answers) for name, answers in (names or {}).items()}

        async def resolve(host: str, _port: int) -> list[str]:
            answers = asked.get(host)
            if not answers:
                raise OSError(-2, "Name or service not known")
            found = answers.pop(0) if len(answers) > 1 else answers[0]
            return [found] if isinstance(found, str) else found

        made.append(Outbound(allowance=Allowance.parse(allow), connections=4, resolve=resolve, **more))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def post(outbound: Outbound, url: str) -> int:
    return (await outbound.post(Target.parse(url), {}, b"", deadline_seconds=5)).status


class TestNames:
    async def test_the_connection_goes_to_the_address_that_was_judged(self, outbound, serve) -> None:
        """Under the name that was asked for; the system's resolver never sees it."""
        server = await serve()
        there = outbound(names={"hook.example": ["127.0.0.1"]})
        assert await post(there, f"http://hook.example:{server.port}/a?b") == 200
        assert server.heads[0].startswith("POST /a?b HTTP/1.1\r\n")
        assert f"host: hook.example:{server.port}\r\n" in server.heads[0].lower()

    @pytest.mark.parametrize(
        "address",
        [
            "10.0.0.1",
            "169.254.169.254",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "fe80::1%lo",
            "0.0.0.0",  # noqa: S104
        ],
    )
    async def test_a_name_that_leads_inside_is_refused(self, outbound, address) -> None:
        there = outbound(allow="", names={"hook.example": [address]})
        with pytest.raises(Refused, match="leads to"):
            await post(there, "http://hook.example/")
        with pytest.raises(Refused):
            await there.check(Target.parse("https://hook.example/"))

    async def test_a_name_that_changes_after_the_check_is_refused(self, outbound, serve) -> None:
        """Rebinding: allowed when it is registered, inside when it is called."""
        server = await serve()
        there = outbound(allow="127.0.0.1", names={"hook.example": ["127.0.0.1", "127.0.0.2"]})
        target = Target.parse(f"http://hook.example:{server.port}/")
        await there.check(target)
        with pytest.raises(Refused, match=r"127\.0\.0\.2"):
            await there.post(target, {}, b"", deadline_seconds=5)
        assert server.heads == []

    async def test_each_connection_is_judged_by_what_it_is_made_to(self, outbound, serve) -> None:
        """One look-up a connection: a second answer cannot slip in between judging and connecting."""
        server = await serve()
        there = outbound(allow="127.0.0.1", names={"hook.example": ["127.0.0.1", "127.0.0.2"]})
        assert await post(there, f"http://hook.example:{server.port}/") == 200

    async def test_of_several_addresses_only_the_good_ones_are_called(self, outbound, serve) -> None:
        """The next one where the first does not answer."""
        server = await serve()
        mixed = outbound(
            allow="127.0.0.1,127.0.0.3", names={"a.example": [["10.0.0.1", "127.0.0.3", "127.0.0.1"]]}
        )
        assert await post(mixed, f"http://a.example:{server.port}/") == 200

    async def test_what_is_not_found(self, outbound) -> None:
        there = outbound(names={"none.example": [[]]})
        with pytest.raises(NoAnswer, match="was not found: Name or service not known"):
            await post(there, "http://gone.example/")
        with pytest.raises(NoAnswer, match="has no address"):
            await post(there, "http://none.example/")
        await there.check(Target.parse("http://gone.example/"))

    async def test_a_resolver_that_hangs(self, outbound, monkeypatch) -> None:
        monkeypatch.setattr("cos.common.outbound.LOOK_UP_SECONDS", 0.02)

        async def never(_host: str, _port: int) -> list[str]:
            await asyncio.Event().wait()
            return []

        there = Outbound(allowance=Allowance(), connections=1, resolve=never)
        with pytest.raises(NoAnswer, match="not looked up within"):
            await post(there, "http://hook.example/")
        await there.close()


class TestOurselves:
    @pytest.mark.parametrize(
        "host",
        ["127.0.0.1", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "hook.example"],  # noqa: S104
    )
    async def test_never_our_own_api(self, outbound, host) -> None:
        """Even where the settings allow every address."""
        there = outbound(allow="0.0.0.0/0,::/0", names={"hook.example": ["127.0.0.1"]})
        there.own_ports.add(8123)
        with pytest.raises(Refused, match="COS's own API"):
            await post(there, f"http://{host}:8123/")


class TestConnections:
    async def test_one_is_used_again(self, outbound, serve) -> None:
        server = await serve()
        there = outbound(names={"hook.example": ["127.0.0.1", "10.0.0.1"]})
        for _ in range(3):
            assert await post(there, f"http://hook.example:{server.port}/") == 200

    async def test_no_one_there(self, outbound, serve) -> None:
        with pytest.raises(NoAnswer, match="No connection: "):
            await post(outbound(), "http://127.0.0.1:9999/")

    async def test_no_proxy_of_the_environment(self, outbound, serve, monkeypatch) -> None:
        server = await serve()
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        assert await post(outbound(), f"http://127.0.0.1:{server.port}/") == 200


class TestTls:
    async def test_sni_and_certificate_are_of_the_name(self, outbound, serve) -> None:
        """Though the connection is made to an address."""
        server = await serve(tls=True)
        there = outbound(names={"hook.example": ["127.0.0.1"]}, ca_file=str(TLS / "authority.pem"))
        assert await post(there, f"https://hook.example:{server.port}/") == 200
        assert server.names == ["hook.example"]

    async def test_another_name_is_refused(self, outbound, serve) -> None:
        """Also where a connection to that address is open already, under the right name."""
        server = await serve(tls=True)
        names = {"hook.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]}
        there = outbound(names=names, ca_file=str(TLS / "authority.pem"))
        assert await post(there, f"https://hook.example:{server.port}/") == 200
        with pytest.raises(NoAnswer, match=r"TLS failed.*certificate"):
            await post(there, f"https://other.example:{server.port}/")
        assert len(server.heads) == 1

    async def test_an_authority_that_nobody_knows_is_refused(self, outbound, serve) -> None:
        server = await serve(tls=True)
        there = outbound(names={"hook.example": ["127.0.0.1"]})
        with pytest.raises(NoAnswer, match="TLS failed"):
            await post(there, f"https://hook.example:{server.port}/")
        assert server.heads == []
