"""What production asks: nothing leaks, load is refused in words, a stop is clean, and trouble is told."""

from __future__ import annotations

import asyncio
import gc

import psutil
import pytest

from cos.common.health import State
from cos.errors import Overloaded, Unavailable
from cos.memory.event import new_event
from cos.runtime.core import Core

ROUNDS = 5


def event(n: int = 0):
    return new_event(type="step", module="load", data={"n": n})


async def test_starting_and_stopping_again_and_again_leaves_nothing_behind(
    servers, settings, clean, eventually
) -> None:
    """No task, no open file, no connection to Postgres or Redis."""

    async def once() -> None:
        async with Core(
            settings=settings, database_url=servers.postgres.url, redis_url=servers.redis.url
        ) as core:
            await core.recorder.record(event())

    await once()
    gc.collect()
    tasks, files = asyncio.all_tasks(), psutil.Process().num_fds()
    for _ in range(ROUNDS):
        await once()

    async def ended() -> bool:
        # Whatever else runs in this loop comes and goes; what was left behind would stay.
        return not asyncio.all_tasks() - tasks

    await eventually(ended)

    async def closed() -> bool:
        # What is left behind is left each time; a few are opened once and for all in some later round. A connection
        # that was cut off is closed by the loop's next steps.
        gc.collect()
        return psutil.Process().num_fds() < files + ROUNDS

    await eventually(closed)


async def test_more_than_can_be_taken_is_refused_in_words_and_the_rest_is_kept(
    servers, settings, clean, pg
) -> None:
    small = settings.model_copy(update={"record_queue": 20, "record_timeout_seconds": 0.3})
    async with Core(settings=small, database_url=servers.postgres.url, redis_url=servers.redis.url) as core:
        async with pg.transaction():
            await pg.execute("LOCK TABLE l1.record IN SHARE MODE")
            ends = await asyncio.gather(
                *(core.recorder.record(event(n)) for n in range(200)), return_exceptions=True
            )
        assert {type(end) for end in ends if isinstance(end, Overloaded)} == {Overloaded}
        assert all(isinstance(end, Unavailable) for end in ends if isinstance(end, Exception))
        assert await core.recorder.record(event()) is not None


async def test_a_stop_under_load_keeps_its_word_to_everybody(servers, settings, clean, pg) -> None:
    """Each caller either has its record, which is there, or was told that it has not."""
    async with Core(
        settings=settings, database_url=servers.postgres.url, redis_url=servers.redis.url
    ) as core:
        writing = [asyncio.create_task(core.recorder.record(event(n))) for n in range(500)]
        await asyncio.wait(writing, return_when=asyncio.FIRST_COMPLETED)
    ends = await asyncio.gather(*writing, return_exceptions=True)
    done = [end for end in ends if not isinstance(end, BaseException)]
    assert all(isinstance(end, Unavailable) for end in ends if isinstance(end, BaseException))
    kept = {row["id"] for row in await pg.fetch("SELECT id FROM l1.record")}
    assert {one.id for one in done} <= kept


async def test_health_tells_each_part_and_its_cause(core) -> None:
    report = await core.monitor.measure()
    assert report.state is State.OK, report.causes
    assert {"postgres", "redis", "relay", "process"} <= {part.name for part in report.parts}


@pytest.mark.parametrize("count", [1, 500])
async def test_everything_recorded_is_announced_once(core, stream_of, eventually, count) -> None:
    done = await asyncio.gather(*(core.recorder.record(event(n)) for n in range(count)))

    async def all_there() -> list:
        entries = await stream_of("load")
        return entries if len(entries) >= count else []

    entries = await eventually(all_there)
    assert [position for position, _ in entries] == sorted(
        (str(one.position) for one in done), key=lambda text: tuple(map(int, text.split("-")))
    )
