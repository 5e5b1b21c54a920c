"""Reads a report in JSON Lines, as the test kit and our own probe write it; docs/green.md has the format."""

from __future__ import annotations

import json
from typing import Any, cast

from cos.green.errors import UnreadableReport
from cos.green.failure import Failure, Frame, Link, Outcome, Phase, Raised, Run

_OUTCOMES = frozenset({"passed", "failed", "error", "skipped", "xfailed", "xpassed"})
_LINKS = frozenset({"", "cause", "context", "member"})
_PHASES = frozenset({"", "setup", "call", "teardown", "collect"})
# of several lines about one test, the worst says what the test is
_WORST = {"error": 5, "failed": 4, "xpassed": 3, "xfailed": 2, "skipped": 1, "passed": 0}


def parse_report(text: str) -> Run:
    """Read a report, one JSON object a line.

    A last line that is cut off (the writer was killed) is left out; unknown fields and other kinds of line are too.

    Args:
        text: the file.

    Returns:
        The run; its total counts the tests that have a line.

    Raises:
        UnreadableReport: names the first line that is not such an object.
    """
    run = Run()
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            raise UnreadableReport(
                f"Line {number} of the report is not JSON: write the report again."
            ) from None
        if not isinstance(item, dict):
            raise UnreadableReport(
                f"Line {number} of the report is not a JSON object: write the report again."
            )
        _take(run, item, number)
    kinds = list(run.outcomes.values())
    run.passed = sum(kind in ("passed", "xpassed") for kind in kinds)
    run.skipped, run.xfailed = kinds.count("skipped"), kinds.count("xfailed")
    run.total = max(run.total or 0, len(kinds))
    run.duration_s = run.duration_s or sum(run.durations.values())
    return run


def _take(run: Run, item: dict[str, Any], number: int) -> None:
    about = item.get("run")
    if isinstance(about, dict):
        run.duration_s = float(about.get("duration_s") or run.duration_s)
        run.total = about.get("collected") or run.total
        run.interrupted = bool(about.get("interrupted", run.interrupted))
        run.leaks = [str(leak) for leak in about.get("leaks", run.leaks)]
        return
    test, outcome = item.get("test"), item.get("outcome")
    if test is None:
        return
    if not isinstance(test, str) or outcome not in _OUTCOMES:
        raise UnreadableReport(
            f"Line {number} of the report has no `test` or no known `outcome` ({outcome!r})."
        )
    before = run.outcomes.get(test)
    if before is None:
        run.order.append(test)
    if before is None or _WORST[outcome] > _WORST[before]:
        run.outcomes[test] = outcome
    durations = item.get("durations")
    took = sum(float(s) for s in durations.values()) if isinstance(durations, dict) else 0.0
    run.durations[test] = run.durations.get(test, 0.0) + took
    calls = frozenset(map(str, item.get("calls") or ()))
    if calls:
        run.calls[test] = calls
    if outcome in ("failed", "error"):
        phase = item.get("phase")
        chain = tuple(_raised(raised) for raised in item.get("chain") or () if isinstance(raised, dict))
        kind = cast("Phase", phase if phase in _PHASES else "")
        run.failures.append(Failure(test, cast("Outcome", outcome), kind, chain, calls, took))


def _raised(item: dict[str, Any]) -> Raised:
    link = item.get("link") or ""
    frames = tuple(_frame(frame) for frame in item.get("frames") or () if isinstance(frame, dict))
    return Raised(
        str(item.get("type") or ""),
        str(item.get("message") or ""),
        frames,
        cast("Link", link if link in _LINKS else ""),
    )


def _frame(item: dict[str, Any]) -> Frame:
    line = item.get("line")
    return Frame(
        str(item.get("file") or ""),
        line if isinstance(line, int) else 0,
        str(item.get("function") or ""),
        str(item.get("source") or ""),
    )


def failure_line(failure: Failure) -> str:
    """Write one failure as a line of such a report."""
    chain = [
        {
            "type": raised.type,
            "message": raised.message,
            "link": raised.link,
            "frames": [{"file": f.file, "line": f.line, "function": f.function} for f in raised.frames],
        }
        for raised in failure.chain
    ]
    item = {"test": failure.test, "outcome": failure.outcome, "phase": failure.phase, "chain": chain}
    return json.dumps(item) + "\n"
