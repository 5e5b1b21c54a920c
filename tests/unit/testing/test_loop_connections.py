"""The loop check on connections: who left one open is named, whenever the collector finds it."""

from __future__ import annotations

import pytest

CONNECTIONS = """
    import asyncio, gc
    gc.disable()
    async def connect():
        gone = lambda reader, writer: writer.close()
        server = await asyncio.start_server(gone, "127.0.0.1", 0)
        return await asyncio.open_connection(*server.sockets[0].getsockname())
    async def test_closes_it():
        reader, writer = await connect()
        writer.close()
        await writer.wait_closed()
    async def test_drops_it():
        await connect()
    async def test_forgets_it():
        found = list(await connect())
        found.append(found)
    async def test_the_collector_comes():
        gc.collect()
    async def test_after_it():
        gc.collect()
"""


POLICIES = {
    "asyncio": "",
    "uvloop": """
        import pytest, uvloop
        @pytest.fixture(scope="session")
        def event_loop_policy(): return uvloop.EventLoopPolicy()
    """,
}


@pytest.mark.parametrize("loop", POLICIES)
def test_a_connection_that_the_collector_found(run, loop) -> None:
    """Told in the test that dropped it, or in whichever the collector comes; who made it is named in both."""
    result = run(CONNECTIONS, scope="session", conftest=POLICIES[loop])
    result.assert_outcomes(passed=3, failed=2)
    text = result.stdout.str()
    for test in ("test_drops_it", "test_forgets_it"):
        assert f"test_it.py:6 in connect by test_it.py::{test} was left open to the garbage collector" in text
    assert "_ test_drops_it _" in text
    assert "_ test_the_collector_comes _" in text
