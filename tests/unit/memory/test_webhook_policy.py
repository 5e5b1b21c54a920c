"""The webhooks' rules: the schedule of the standard, and what answers mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from cos.common.outbound import Answer
from cos.config import load_settings
from cos.errors import BadSetting
from cos.memory.webhooks.endpoint import Policy, read_pauses
from cos.memory.webhooks.sender import judge


class TestSchedule:
    def test_it_is_the_one_of_the_standard(self) -> None:
        """Ten tries over three days; the settings' default is the same."""
        policy = Policy()
        assert read_pauses(load_settings().webhook_retry_seconds) == policy.retry_seconds
        assert [policy.pause(tries) for tries in (1, 2, 9, 10)] == [5, 300, 86_400, None]
        assert sum(policy.retry_seconds) == timedelta(hours=75, minutes=35, seconds=5).total_seconds()

    @pytest.mark.parametrize("text", ["", "5,", "a", "5;6", "-1", "1,99999999", "1..2", "nan", "inf"])
    def test_what_is_none(self, text) -> None:
        with pytest.raises(BadSetting, match="COS_WEBHOOK_RETRY_SECONDS"):
            read_pauses(text)


def judged(status: int, retry_after: str | None = None, excerpt: str = ""):
    return judge(Answer(status, retry_after, excerpt, 1.0), Policy(retry_after_seconds=3600))


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
    def test_any_2xx_is_taken(self, status) -> None:
        assert judged(status).delivered

    @pytest.mark.parametrize("status", [100, 301, 302, 304, 307, 400, 401, 403, 404, 410, 429, 500, 503, 999])
    def test_nothing_else_is(self, status) -> None:
        outcome = judged(status, excerpt="no")
        assert not outcome.delivered
        assert str(status) in outcome.error

    def test_gone_and_refused_and_throttled(self) -> None:
        assert [status for status in range(200, 600) if judged(status).gone] == [410]
        assert [status for status in range(200, 600) if judged(status).refused] == [400, 413, 415, 422]
        assert [status for status in range(200, 600) if judged(status, "1").throttled] == [429, 503]
        assert not judged(429).throttled

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            *(
                ("0", 0),
                ("120", 120),
                (" 7 ", 7),
                ("99999999999999999999", 3600),
                ("-1", None),
                ("1.5", None),
            ),
            *(
                ("soon", None),
                ("", None),
                ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
                ("\u0661", None),
                ("1e3", None),
            ),
        ],
    )
    def test_retry_after(self, text, seconds) -> None:
        assert judged(503, text).retry_after_seconds == seconds

    def test_retry_after_as_a_date_to_come(self) -> None:
        at = datetime.now(UTC) + timedelta(minutes=10)
        asked = judged(503, format_datetime(at, usegmt=True)).retry_after_seconds
        assert 500 < asked <= 600
