"""The pulse counts what settles, keeps the last minutes, and measures once for who asks at the same time."""

from __future__ import annotations

import asyncio

import httpx

from cos.memory.pulse import BEATS, Pulse


class TestBeats:
    async def test_the_rate_is_what_settled_between_two_beats(self, core, client: httpx.AsyncClient) -> None:
        """The first beat has nothing to compare with and tells no rate; the next counts exactly what came between."""
        pulse = Pulse(gauge=core.gauge)
        await pulse.turn()
        counted = pulse._counted
        assert counted is not None
        for n in range(7):
            assert (await client.post("/events", json={"type": "tick", "data": n})).status_code == 201
        vitals = await core.gauge.measure(count=False, since=counted[0])
        await pulse.turn()
        first, second = pulse.beats
        assert vitals.settled_since == 7
        assert vitals.records is None
        assert first.recorded_per_second is None
        assert second.recorded_per_second is not None
        assert second.recorded_per_second > 0

    async def test_without_servers_nothing_is_made_up(self, servers, core) -> None:
        """What cannot be measured is absent, and the rate begins anew instead of telling all of that time at once."""
        pulse = Pulse(gauge=core.gauge)
        await pulse.turn()
        await servers.postgres.stop()
        try:
            await pulse.turn()
        finally:
            await servers.postgres.start()
        await pulse.turn()
        await pulse.turn()
        away, first, second = pulse.beats[1:]
        assert (away.recorded_per_second, away.postgres_ms, away.lag_seconds) == (None, None, None)
        assert first.recorded_per_second is None
        assert second.recorded_per_second == 0

    async def test_only_the_last_minutes_are_kept(self, core) -> None:
        pulse = Pulse(gauge=core.gauge)
        await pulse.turn()
        pulse._beats.extend(pulse.beats * (BEATS + 5))
        assert len(pulse.beats) == BEATS


class TestVitals:
    async def test_who_asks_at_once_shares_one_measurement(self, core) -> None:
        pulse = Pulse(gauge=core.gauge)
        found = await asyncio.gather(*(pulse.vitals() for _ in range(20)))
        assert len({id(one) for one in found}) == 1
        assert found[0].postgres_answers
