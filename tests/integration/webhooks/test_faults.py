"""Webhooks under faults: nothing is lost, and what comes twice comes with the same id."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from cos.common.pool import Pool
from cos.memory.webhooks.endpoint import read
from cos.memory.webhooks.ledger import Ledger

PROGRAM = Path(__file__).parent / "killed.py"
LEASE_SECONDS = 1.0


@pytest.fixture
async def spawn(core) -> AsyncIterator[Callable[[], Awaitable[asyncio.subprocess.Process]]]:
    """Serve webhooks in another process."""
    started = []

    async def start() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            core.database_url,
            str(LEASE_SECONDS),
            stdout=asyncio.subprocess.PIPE,
        )
        started.append(process)
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"serving\n"
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.wait()


def first_of_each(calls: list[Any]) -> list[int]:
    seen: dict[str, int] = {}
    for call in calls:
        seen.setdefault(call.id, call.n)
    return list(seen.values())


class TestKilled:
    async def test_between_the_answer_and_the_commit(
        self, spawn, run, hook, record, receiver, answer, came, becomes, policy
    ) -> None:
        """The event was taken, nobody wrote it down: it comes again, with the same id, and the rest follows."""
        process = await spawn()

        async def kill(_call) -> bytes:
            process.kill()
            await process.wait()
            return answer(200)

        made = await hook()
        receiver.answers.extend([answer(200), kill])
        await record(1)
        await came(1)
        await record(2, 3)
        await came(2)
        await process.wait()
        await run(policy)
        found = await becomes(made, state="active", next_attempt_at=None, failures=0)
        assert found
        await came(4)
        assert first_of_each(receiver.calls) == [1, 2, 3]
        assert receiver.numbers[-2:] == [2, 3]
        assert receiver.calls[1].id in {call.id for call in receiver.calls[2:]}

    async def test_again_and_again_in_full_flow(
        self, spawn, run, hook, record, receiver, came, becomes, policy, eventually
    ) -> None:
        """Every event comes, each id for one event, in the order of the log but for what comes twice."""
        await hook()
        ids = await record(*range(300))
        for mark in (40, 90, 150):
            process = await spawn()
            await record(*range(300 + mark, 310 + mark))
            await came(mark)
            process.kill()
            await process.wait()
        made = await hook(url=receiver.url("/other"))
        await run(policy)
        last = await record(999)

        async def all_there() -> bool:
            return {call.id for call in receiver.calls if call.path == "/hook"} >= {*ids, *last}

        await eventually(all_there, seconds=60)
        mine = [call for call in receiver.calls if call.path == "/hook"]
        assert first_of_each(mine)[:300] == list(range(300))
        assert len(mine) < 2 * len({call.id for call in mine})
        await becomes(made, delivered=1)


class TestTwoProcesses:
    async def test_one_serves_an_endpoint_and_the_other_takes_over(
        self, spawn, run, hook, record, receiver, came, eventually, pg, policy
    ) -> None:
        """Without a single event twice when the first gives it back in order."""
        await hook()
        first = await spawn()
        await record(*range(50))
        await came(50)
        second = await run(policy)
        await record(*range(50, 60))
        await came(60)
        assert second.sender.tries == 0
        first.send_signal(signal.SIGINT)
        await first.wait()
        await record(*range(60, 80))
        await came(80)
        assert receiver.numbers == list(range(80))

    async def test_a_frozen_one_that_thaws_sends_nothing_more(
        self, spawn, run, hook, record, receiver, came, eventually, pg, policy
    ) -> None:
        """Its lease is over by its own clock: it stops before it sends."""
        await hook()
        frozen = await spawn()
        await record(*range(10))
        await came(10)

        async def written() -> bool:
            return await pg.fetchval("SELECT delivered FROM webhook.endpoint") == 10

        await eventually(written)
        os.kill(frozen.pid, signal.SIGSTOP)
        await record(*range(10, 20))
        await run(policy)
        await came(20)
        os.kill(frozen.pid, signal.SIGCONT)
        await record(*range(20, 40))
        await came(40)
        assert receiver.numbers == list(range(40))

    async def test_one_that_is_frozen_with_events_in_hand_drops_them(
        self, spawn, run, hook, record, receiver, answer, came, policy, eventually
    ) -> None:
        """Thawed, it has read ahead and been answered, and still sends nothing that the other has sent since."""
        frozen = await spawn()

        async def freeze(_call) -> bytes:
            os.kill(frozen.pid, signal.SIGSTOP)
            return answer(200)

        receiver.answers.extend([answer(200)] * 3 + [freeze])
        await record(*range(10))
        await hook(after="0-0")
        await came(4)
        await run(policy)

        async def all_there() -> bool:
            return 9 in receiver.numbers

        await eventually(all_there)
        before = len(receiver.calls)
        os.kill(frozen.pid, signal.SIGCONT)
        await record(*range(10, 20))
        await came(before + 10)
        assert receiver.numbers[before:] == list(range(10, 20))
        assert first_of_each(receiver.calls) == list(range(20))

    @pytest.mark.parametrize(("same_owner", "epoch"), [(False, 0), (True, -1)])
    async def test_what_is_not_ours_or_was_changed_since_is_not_written(
        self, core, run, policy, hook, pg, eventually, same_owner, epoch
    ) -> None:
        """The account is lost, and says so."""
        made = await hook()
        served = await run(policy)

        async def taken() -> Any:
            return await pg.fetchrow("SELECT * FROM webhook.endpoint WHERE owner IS NOT NULL")

        async def courier() -> Any:
            return next(iter(served.dispatcher.couriers.values()), None)

        row, serving = await eventually(taken), await eventually(courier)
        pool = Pool(url=core.database_url, size=1)
        ledger = Ledger(pool=pool, owner=row["owner"] if same_owner else UUID(made["id"]), attempts_kept=9)
        endpoint = read(dict(row) | {"secrets": [], "secret_ends": []})
        endpoint.delivered, endpoint.epoch = 99, endpoint.epoch + epoch
        account = ledger.open(endpoint)
        ledger.note(account)
        await ledger.turn()
        await pool.close()
        assert account.lost
        assert await pg.fetchval("SELECT delivered FROM webhook.endpoint") == 0
        assert not serving.account.lost


class TestBreaker:
    async def test_a_host_that_fails_is_left_alone_by_all_its_endpoints(
        self, run, policy, hook, record, receiver, answer, came, becomes, eventually
    ) -> None:
        """Refused calls are no tries: nothing is buried while the host is left alone, and all comes when it is back."""
        receiver.always = answer(500)
        hooks = [await hook(url=receiver.url(f"/{n}")) for n in range(6)]
        rules = replace(policy, retry_seconds=(0.001,) * 30, breaker_failures=4, breaker_seconds=0.3)
        served = await run(rules)
        await record(1)

        async def opened() -> bool:
            return any(one.counts.refused for one in served.sender.breakers.values())

        await eventually(opened)
        receiver.always = answer(200)
        for made in hooks:
            await becomes(made, delivered=1, buried=0, state="active")


class TestServersAway:
    async def test_postgres_away_and_back(
        self, servers, run, hook, record, receiver, came, becomes, eventually
    ) -> None:
        """Its connections are cut again and again under way: every event comes, few of them twice."""
        import asyncpg  # noqa: PLC0415  (only here)

        made = await hook()
        await run()
        ids = await record(*range(200))
        for mark in (20, 60, 120):
            await came(mark)
            connection = await asyncpg.connect(servers.postgres.url)
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cos webhooks'"
            )
            await connection.close()

        async def all_there() -> bool:
            return {call.id for call in receiver.calls} == set(ids)

        await eventually(all_there, seconds=40)
        assert first_of_each(receiver.calls) == list(range(200))
        await becomes(made, state="active", error=None)
