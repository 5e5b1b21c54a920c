"""Webhooks at a real receiver: every event, in order, signed, tried again, and never lost."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest


class TestDelivery:
    async def test_each_wanted_event_once_in_order_and_signed(
        self, run, hook, record, receiver, verify, came, becomes
    ) -> None:
        """The body is the event's envelope; the id of the webhook is the event's."""
        made = await hook(types=["step", "chap*"])
        await run()
        ids = await record(*range(30))
        await record(98, module="other")
        await record(99, type="note")
        ids += await record(30, type="chapter.saved")
        calls = await came(31)
        assert receiver.numbers == list(range(31))
        assert [call.id for call in calls] == ids == [call.event["id"] for call in calls]
        for call in calls:
            verify(call, made["secret"])
            assert call.headers["content-type"] == "application/json"
            assert call.headers["user-agent"].startswith("COS/")
        found = await becomes(made, delivered=31, state="active")
        assert found["position"] >= calls[-1].event["position"]
        assert receiver.connections == 1

    async def test_it_begins_where_it_was_asked_to(self, run, hook, record, receiver, came) -> None:
        """From now on, from the oldest event, or after a position."""
        await record(1, 2)
        await run()
        await hook(url=receiver.url("/now"))
        await hook(url=receiver.url("/all"), after="0-0")
        position = (await came(2))[0].event["position"]
        await hook(url=receiver.url("/after"), after=position)
        await came(3)
        await record(3)
        await came(6)
        paths = {path: [c.n for c in receiver.calls if c.path == path] for path in ("/now", "/all", "/after")}
        assert paths == {"/now": [3], "/all": [1, 2, 3], "/after": [2, 3]}

    async def test_the_trace_goes_on_and_the_body_is_kept_to_the_byte(self, run, hook, core, came) -> None:
        from cos.memory.event import new_event  # noqa: PLC0415  (only here)

        await hook()
        await run()
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        raw = b'{"n": 1.50,\n "t": "\xc3\xa4 \\u00e4"}'
        await core.recorder.record(new_event(type="step", module="editor", raw_data=raw, traceparent=trace))
        [call] = await came(1)
        assert call.headers["traceparent"] == trace
        assert raw in call.body

    async def test_many_endpoints_each_in_order_and_none_waits_for_another(
        self, run, hook, record, receiver, came, answer
    ) -> None:
        """One that hangs does not hold up the others."""
        stuck = asyncio.Event()

        async def hang(call) -> bytes:
            if call.path == "/0":
                await stuck.wait()
            return answer(200)

        receiver.always = hang
        for number in range(5):
            await hook(url=receiver.url(f"/{number}"))
        await run()
        await record(*range(20))
        await came(1 + 4 * 20)
        stuck.set()
        await came(5 * 20)
        for number in range(5):
            assert [c.n for c in receiver.calls if c.path == f"/{number}"] == list(range(20))


class TestRetries:
    async def test_until_it_is_taken_with_the_same_id_and_a_new_signature(
        self, run, hook, record, receiver, verify, answer, came, becomes
    ) -> None:
        """What comes behind waits; order is kept."""
        receiver.answers.extend([answer(500, b"oh\nno"), None, answer(404), answer(200)])
        made = await hook()
        await run()
        await record(1, 2)
        calls = await came(5)
        assert receiver.numbers == [1, 1, 1, 1, 2]
        assert len({call.id for call in calls[:4]}) == 1
        for call in calls:
            verify(call, made["secret"])
        await becomes(made, delivered=2, state="active", failures=0, error=None, failing_since=None)

    async def test_a_state_that_tells(
        self, run, policy, hook, record, receiver, answer, becomes, client
    ) -> None:
        receiver.always = answer(503, b"closed <b>today</b>\x00")
        made = await hook()
        await run(replace(policy, retry_seconds=(500,)))
        [event_id] = await record(1)
        found = await becomes(made, state="failing", attempts=1, failures=1)
        assert found["error"] == "It answered 503: closed <b>today</b>?"
        assert found["next_attempt_at"] > found["failing_since"]
        [attempt] = (await client.get(f"/cc/webhooks/{made['id']}/attempts")).json()["attempts"]
        assert (attempt["status"], attempt["attempt"], attempt["delivered"]) == (503, 1, False)
        assert attempt["event_id"] == event_id
        assert attempt["duration_ms"] > 0

    async def test_after_the_last_try_a_dead_letter_that_can_be_requeued(
        self, run, hook, record, receiver, answer, came, becomes, client, letters, eventually
    ) -> None:
        """The next event gets its turn; the letter is delivered once more, with the same id."""
        receiver.answers.extend([answer(500)] * 4)
        made = await hook()
        await run()
        await record(1, 2)
        await becomes(made, delivered=1, buried=1, dead_letters=1, state="active")
        assert receiver.numbers == [1, 1, 1, 1, 2]
        [letter] = await letters()
        assert (letter["group_name"], letter["attempts"]) == (f"webhook:{made['id']}", 4)
        assert letter["error"] == "It answered 500."
        assert (await client.post(f"/cc/dead-letters/{letter['id']}/requeue")).status_code == 200
        calls = await came(6)
        assert (calls[5].id, calls[5].body) == (calls[0].id, calls[0].body)
        await becomes(made, delivered=2, dead_letters=0)

        async def delivered() -> bool:
            return (await letters())[0]["state"] == "delivered"

        await eventually(delivered)
        assert len(receiver.calls) == 6

    async def test_a_requeued_letter_that_is_refused_is_dead_again(
        self, run, hook, record, receiver, answer, becomes, client, letters, eventually
    ) -> None:
        receiver.always = answer(500)
        made = await hook()
        await run()
        await record(1)
        await becomes(made, dead_letters=1)
        [letter] = await letters()
        await client.post(f"/cc/dead-letters/{letter['id']}/requeue")

        async def dead_again() -> bool:
            [now] = await letters()
            return (now["state"], now["attempts"], now["deliveries"]) == ("dead", 5, 1)

        await eventually(dead_again)
        assert len(receiver.calls) == 5

    @pytest.mark.parametrize("status", [400, 413, 415, 422])
    async def test_an_event_that_is_refused_as_such_holds_up_the_others_less_long(
        self, run, policy, hook, record, receiver, answer, becomes, status
    ) -> None:
        receiver.answers.extend([answer(status)] * 2)
        made = await hook()
        await run(replace(policy, refused_tries=2))
        await record(1, 2)
        await becomes(made, delivered=1, buried=1)
        assert receiver.numbers == [1, 1, 2]


class TestAnswers:
    async def test_a_redirect_is_a_failure_and_never_followed(
        self, run, hook, record, receiver, answer, came, becomes
    ) -> None:
        receiver.answers.extend([answer(302, location=receiver.url("/elsewhere"))] * 2)
        made = await hook()
        await run()
        await record(1)
        await came(3)
        await becomes(made, delivered=1)
        assert {call.path for call in receiver.calls} == {"/hook"}

    async def test_gone_disables_at_once(
        self, run, hook, record, receiver, answer, becomes, client, pg
    ) -> None:
        """With a reason, an event, a word in health, and nothing skipped: enabled again it goes on there."""
        receiver.answers.append(answer(410))
        made = await hook()
        await run()
        await record(1, 2)
        found = await becomes(made, state="disabled")
        assert found["reason"] == "It answered 410 Gone: it wants no more events."
        assert receiver.numbers == [1]
        row = await pg.fetchrow("SELECT * FROM l1.record WHERE type = 'webhook.disabled'")
        assert (row["module"], row["subject"], row["level"]) == ("cc", made["id"], "warning")
        assert json.loads(row["data"])["reason"] == found["reason"]
        again = await client.post(f"/cc/webhooks/{made['id']}/enable")
        assert again.json()["state"] == "active"
        await becomes(made, delivered=2, reason=None)
        assert receiver.numbers == [1, 1, 2]

    @pytest.mark.parametrize("status", [429, 503])
    async def test_retry_after_is_waited_for_and_does_not_use_up_tries(
        self, run, policy, hook, record, receiver, answer, came, becomes, status
    ) -> None:
        """However often it is asked for: the one real failure after it is still the first."""
        receiver.answers.extend([answer(status, retry_after="0")] * 6 + [answer(500)])
        made = await hook()
        await run(replace(policy, retry_seconds=(0.01,)))
        await record(1)
        await came(8)
        found = await becomes(made, delivered=1, buried=0)
        assert found["state"] == "active"

    async def test_retry_after_is_the_least_pause_and_has_a_bound(
        self, run, policy, hook, record, receiver, answer, becomes
    ) -> None:
        """As seconds or as a date; longer than the bound counts as the bound; nonsense counts for nothing."""
        later = format_datetime(datetime.now(UTC) + timedelta(hours=3), usegmt=True)
        asked = {"/s": "300", "/d": later, "/most": "9" * 400, "/none": "soon", "/past": "-5"}

        async def reply(call) -> bytes:
            return answer(503, retry_after=asked[call.path])

        receiver.always = reply
        hooks = {path: await hook(url=receiver.url(path)) for path in asked}
        await run(replace(policy, retry_seconds=(60,), retry_after_seconds=1000.0))
        await record(1)
        pauses = {}
        for path, made in hooks.items():
            found = await becomes(made, failures=1)
            next_at, since = (datetime.fromisoformat(found[k]) for k in ("next_attempt_at", "failing_since"))
            pauses[path] = (next_at - since).total_seconds()
        assert 300 <= pauses["/s"] <= 315
        assert 1000 <= pauses["/d"] <= 1050
        assert 1000 <= pauses["/most"] <= 1050
        assert 30 <= pauses["/none"] <= 60
        assert 30 <= pauses["/past"] <= 60

    async def test_a_slow_answer_is_given_up(
        self, run, policy, hook, record, receiver, answer, came, becomes, client
    ) -> None:
        """Also one that drips byte by byte."""

        async def never(_call) -> bytes:
            await asyncio.Event().wait()
            return b""

        receiver.answers.extend([never, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", answer(200)])
        made = await hook()
        await run(replace(policy, deadline_seconds=0.2))
        await record(1)
        await becomes(made, delivered=1)
        attempts = (await client.get(f"/cc/webhooks/{made['id']}/attempts")).json()["attempts"]
        assert [one["error"] for one in attempts] == [None] + ["No answer within 0.2 s."] * 2

    async def test_a_huge_answer_is_cut_off(self, run, hook, record, receiver, answer, came, becomes) -> None:
        """A 200 counts as soon as it is read far enough; its connection is not used again."""
        receiver.answers.append(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n" + b"x" * 200_000)
        made = await hook()
        await run()
        await record(1, 2)
        await becomes(made, delivered=2)
        assert receiver.numbers == [1, 2]
        assert receiver.connections == 2

    @pytest.mark.parametrize(
        "nonsense",
        [
            b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"a: " + b"b" * 300_000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
            b"\x00" * 100,
        ],
        ids=["ssh", "headers", "length", "zeros"],
    )
    async def test_what_is_no_http_is_a_failure(self, run, hook, record, receiver, nonsense, becomes) -> None:
        receiver.answers.append(nonsense)
        made = await hook()
        await run()
        await record(1)
        await becomes(made, delivered=1)
        assert receiver.numbers == [1, 1]


class TestFailingForLong:
    async def test_is_disabled_with_reason_and_time(
        self, run, policy, hook, record, receiver, answer, becomes, client
    ) -> None:
        receiver.always = answer(500)
        made = await hook()
        await run(replace(policy, retry_seconds=(0.01,) * 50, disable_seconds=0.05, disable_failures=5))
        await record(1, 2)
        found = await becomes(made, state="disabled")
        assert "times in a row. It answered 500." in found["reason"]
        assert found["state_since"] > found["failing_since"]
        assert len(receiver.calls) >= 5
        before = len(receiver.calls)
        receiver.always = answer(200)
        await client.post(f"/cc/webhooks/{made['id']}/enable", json={"begin": "now"})
        await record(3)
        await becomes(made, delivered=1, state="active")
        assert receiver.numbers[before:] == [3]

    async def test_but_not_for_few_failures(
        self, run, policy, hook, record, receiver, answer, came, becomes
    ) -> None:
        """A clock that jumps ahead must not disable what failed once."""
        receiver.answers.extend([answer(500)] * 3)
        made = await hook()
        await run(replace(policy, disable_seconds=1e-9, disable_failures=4))
        await record(1)
        await becomes(made, delivered=1, state="active")
