"""Webhooks while they are changed, their secrets exchanged, and the clock jumps."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from cos.common import clock


class TestPeople:
    """Who changes a webhook while it is served."""

    async def test_pausing_ends_after_the_delivery_under_way(
        self, run, hook, record, receiver, answer, becomes, client, eventually
    ) -> None:
        """Which counts: resumed, it goes on with the next event."""
        under_way, go_on = asyncio.Event(), asyncio.Event()

        async def slow(_call) -> bytes:
            under_way.set()
            await go_on.wait()
            return answer(200)

        made = await hook()
        receiver.answers.append(slow)
        served = await run()
        await record(1, 2, 3)
        await under_way.wait()
        await client.post(f"/cc/webhooks/{made['id']}/pause")

        async def heard() -> bool:
            return not served.dispatcher.couriers

        await eventually(heard)
        go_on.set()
        await becomes(made, delivered=1, state="paused")
        assert receiver.numbers == [1]
        await client.post(f"/cc/webhooks/{made['id']}/resume")
        await becomes(made, delivered=3)
        assert receiver.numbers == [1, 2, 3]

    async def test_deleting_during_a_delivery(
        self, run, hook, record, receiver, answer, client, eventually, came
    ) -> None:
        """Leaves nothing behind, and others go on."""
        under_way, go_on = asyncio.Event(), asyncio.Event()

        async def slow(_call) -> bytes:
            under_way.set()
            await go_on.wait()
            return answer(200)

        made = await hook()
        receiver.answers.append(slow)
        served = await run()
        await record(1, 2)
        await under_way.wait()
        assert (await client.delete(f"/cc/webhooks/{made['id']}")).status_code == 200

        async def heard() -> bool:
            return not served.dispatcher.couriers

        await eventually(heard)
        go_on.set()

        async def gone() -> bool:
            return not served.dispatcher._served

        await eventually(gone)
        await hook(url=receiver.url("/new"))
        await record(3)
        await came(2)
        assert [(call.path, call.n) for call in receiver.calls] == [("/hook", 1), ("/new", 3)]

    async def test_a_new_url_is_tried_at_once_by_the_same_process(
        self, run, policy, hook, record, receiver, answer, came, becomes, client
    ) -> None:
        """An endpoint that waits for its next try in hours is mended now."""
        receiver.answers.append(answer(500))
        made = await hook()
        await run(replace(policy, retry_seconds=(5000,)))
        await record(1)
        await becomes(made, state="failing")
        await client.patch(f"/cc/webhooks/{made['id']}", json={"url": receiver.url("/mended")})
        await becomes(made, state="active", delivered=1)
        assert [call.path for call in receiver.calls] == ["/hook", "/mended"]

    async def test_a_requeued_letter_of_a_deleted_webhook_is_dead_again(
        self, run, hook, record, receiver, answer, becomes, client, letters, eventually, monkeypatch, policy
    ) -> None:
        monkeypatch.setattr("cos.memory.webhooks.dispatcher._ORPHANS_SECONDS", 0.01)
        receiver.answers.append(answer(400))
        made = await hook()
        await run(replace(policy, refused_tries=1))
        await record(1)
        await becomes(made, buried=1)
        [letter] = await letters()
        await client.delete(f"/cc/webhooks/{made['id']}")
        assert (await client.post(f"/cc/dead-letters/{letter['id']}/requeue")).status_code == 200

        async def dead() -> bool:
            [now] = await letters()
            return now["state"] == "dead" and "was deleted" in now["error"]

        await eventually(dead)
        assert len(receiver.calls) == 1


class TestSecrets:
    async def test_both_sign_during_the_overlap(
        self, run, hook, record, receiver, verify, came, client, eventually
    ) -> None:
        """Without a restart of the courier; then the new one alone."""
        made = await hook()
        await run()
        await record(1)
        [first] = await came(1)
        assert " " not in first.headers["webhook-signature"]
        path = f"/cc/webhooks/{made['id']}/rotate"
        new = (await client.post(path, json={"overlap_seconds": 1000})).json()["secret"]

        async def two() -> bool:
            await record(2)
            return receiver.calls[-1].headers["webhook-signature"].count("v1,") == 2

        await eventually(two)
        verify(receiver.calls[-1], made["secret"])
        verify(receiver.calls[-1], new)
        last = (await client.post(path, json={"overlap_seconds": 0})).json()["secret"]

        async def one() -> bool:
            await record(3)
            return receiver.calls[-1].headers["webhook-signature"].count("v1,") == 1

        await eventually(one)
        verify(receiver.calls[-1], last)


class TestClocks:
    async def test_a_pause_of_another_process_is_never_longer_than_a_pause_can_be(
        self, run, policy, hook, record, receiver, becomes, pg
    ) -> None:
        """A wall clock that was days ahead when the pause began must not stop the endpoint for days."""
        made = await hook()
        await record(1)
        await pg.execute(
            "UPDATE webhook.endpoint SET attempts = 1, next_attempt_at = now() + interval '30 days',"
            " failing_since = now() + interval '30 days', failures = 1"
        )
        await run(replace(policy, retry_seconds=(0.1,), retry_after_seconds=0.1))
        await becomes(made, delivered=1, state="active")

    async def test_a_clock_that_jumps_does_not_disable(
        self, run, policy, hook, record, receiver, answer, came, becomes
    ) -> None:
        """A few failures around a jump of a year are not a year of failures."""

        class Jumping(clock.SystemClock):
            ahead = timedelta()

            def now(self) -> datetime:
                return super().now() + self.ahead

        jumping = Jumping()
        made = await hook()
        with clock.use_clock(jumping):

            async def jump(_call) -> bytes:
                jumping.ahead += timedelta(days=365)
                return answer(500)

            receiver.answers.extend([answer(500), jump, answer(500)])
            await run()
            await record(1)
            await becomes(made, delivered=1, state="active")
