"""What the highway costs Redis, counted in commands and round trips, which no busy machine can change."""

from __future__ import annotations

import pytest

from cos.memory.event import new_event


async def commands(core) -> dict[str, int]:
    told = await core.redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(of["calls"]) for name, of in told.items()}


@pytest.fixture
async def still(core):
    """A core whose relay takes its turns only when it is told to, and where nobody else asks Redis anything."""
    for looper in (core.relay_looper, core._watch, core._keeper, core._retention_looper):
        await looper.stop()
    await core.monitor.close()  # a measurement under way outlives who asked for it
    return core


async def drain(core) -> None:
    while await core.relay.turn() == 0:
        pass


async def test_a_batch_of_a_module_is_one_call_of_a_script(still) -> None:
    """However many events there are: a call for each thousand, an XADD and a PUBLISH for each event, no more."""
    await still.recorder.record(new_event(type="step", module="m", data=0))
    await drain(still)
    await still.recorder.record_many([new_event(type="step", module="m", data=n) for n in range(3000)])
    before = await commands(still)
    await drain(still)
    after = await commands(still)
    used = {name: after[name] - before.get(name, 0) for name in after}
    assert used["xadd"] == used["publish"] == 3000
    assert used["eval"] <= 5


async def test_an_idle_relay_asks_redis_about_once_a_second(still) -> None:
    """Nothing to move: a turn looks at Postgres, and at Redis only when it was long ago."""
    await still.recorder.record(new_event(type="step", module="m", data=0))
    await drain(still)
    still.relay._verified_at = float("inf")  # it has just looked
    before = await commands(still)
    for _ in range(50):
        await still.relay.turn()
    after = await commands(still)
    assert after.get("eval", 0) == before.get("eval", 0)


RELAYING = ("xadd", "publish", "eval", "evalsha", "script|load", "multi", "exec")


async def test_the_cost_of_an_event_does_not_grow_with_the_stream(still) -> None:
    costs = []
    for _ in range(3):
        await still.recorder.record_many([new_event(type="step", module="m", data=n) for n in range(1000)])
        before = await commands(still)
        await drain(still)
        after = await commands(still)
        costs.append(sum(after.get(name, 0) - before.get(name, 0) for name in RELAYING))
    assert max(costs) - min(costs) <= 5
    assert min(costs) > 2000  # so that nothing is left out


async def test_recording_asks_nothing_of_redis(still) -> None:
    """The writer's path is the same with Redis up and down: it does not touch it."""
    before = await commands(still)
    for n in range(20):
        await still.recorder.record(new_event(type="step", module="m", data=n))
    after = await commands(still)
    used = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert not set(used) & {"xadd", "publish", "eval", "set", "hset"}
