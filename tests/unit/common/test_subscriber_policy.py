"""What a group's policy refuses, and how long it waits."""

from __future__ import annotations

import pytest

from cos.common.subscriber_policy import Policy
from cos.errors import BadSetting


class TestPolicy:
    @pytest.mark.parametrize(
        "bad",
        [
            {"attempts": 0},
            {"concurrency": 0},
            {"batch": 0},
            {"prefetch": -1},
            {"deadline_seconds": 0.0},
            {"first_retry_seconds": -1.0},
            {"last_retry_seconds": 0.0},
            {"claim_seconds": 0.0},
        ],
    )
    def test_a_number_that_cannot_work_is_named(self, bad) -> None:
        with pytest.raises(BadSetting, match=next(iter(bad))):
            Policy(**bad)

    def test_pauses_double_up_to_the_last_with_jitter(self) -> None:
        policy = Policy(first_retry_seconds=1, last_retry_seconds=10)
        for attempt, longest in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (10_000, 10)):
            pauses = [policy.pause_seconds(attempt) for _ in range(50)]
            assert longest / 2 <= min(pauses) < max(pauses) <= longest
