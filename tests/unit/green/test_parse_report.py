"""The report in JSON Lines."""

from __future__ import annotations

import json

import pytest

from cos.green.errors import UnreadableReport
from cos.green.failure import Failure, Frame, Raised
from cos.green.parse_report import failure_line, parse_report


def test_each_field_is_read_and_the_worst_line_says_what_a_test_is() -> None:
    chain = [
        {"type": "a.B", "message": "m", "link": "", "frames": [{"file": "f.py", "line": 3, "function": "g"}]}
    ]
    lines = [
        {"run": {"collected": 3, "duration_s": 1.5}},
        {
            "test": "t.py::a",
            "outcome": "passed",
            "phase": "call",
            "durations": {"setup": 0.1, "call": 0.2},
            "worker": "gw0",
        },
        {
            "test": "t.py::a",
            "outcome": "error",
            "phase": "teardown",
            "chain": chain,
            "seeds": {"random": 1},
            "faults": ["x"],
        },
        {"test": "t.py::b", "outcome": "skipped", "phase": "setup"},
        {"later": "kinds of line are left out"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)

    run = parse_report(text + '{"test": "cut')

    assert run.outcomes == {"t.py::a": "error", "t.py::b": "skipped"}
    assert run.failures[0].chain == (Raised("a.B", "m", (Frame("f.py", 3, "g"),)),)
    assert run.failures[0].phase == "teardown"
    assert run.durations["t.py::a"] == pytest.approx(0.3)
    assert (run.total, run.passed, run.skipped, run.duration_s) == (3, 0, 1, 1.5)


@pytest.mark.parametrize(
    "text",
    ["nonsense\n{}\n", "[1]\n", '{"test": 1, "outcome": "passed"}\n', '{"test": "a", "outcome": "odd"}\n'],
)
def test_a_line_that_is_no_result_is_named(text: str) -> None:
    with pytest.raises(UnreadableReport, match="Line 1"):
        parse_report(text)


def test_a_failure_that_is_written_is_read_again() -> None:
    failure = Failure(
        "t.py::a", "error", "collect", (Raised("X", "y", (Frame("a.py", 1, "b"),), "cause"), Raised("Z", ""))
    )

    assert parse_report(failure_line(failure)).failures == [failure]
