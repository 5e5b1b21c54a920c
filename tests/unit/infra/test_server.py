"""A server that somebody else runs."""

from __future__ import annotations

from cos.infra.server import ExternalServer


async def test_external_server_is_never_started_or_stopped():
    server = ExternalServer(url="redis://:secret@example.org")

    await server.start()
    await server.stop()

    assert (server.url, server.state) == ("redis://:secret@example.org", "external")
    assert (server.pid, server.started_at, server.restarts, server.last_exit) == (None, None, 0, None)
    assert "secret" not in repr(server)
