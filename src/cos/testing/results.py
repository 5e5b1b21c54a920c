"""Reads pytest's reports: what a phase tells of its test, which worker ran it, and the seeds of the run."""

from __future__ import annotations

import pytest

SEEDS = pytest.StashKey[dict[str, int]]()


def outcome_of(report: pytest.TestReport) -> str:
    """Say what a phase tells of its test; nothing when it tells nothing."""
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.skipped:
        return "xfailed" if hasattr(report, "wasxfail") else "skipped"
    if report.when == "call":
        return "xpassed" if hasattr(report, "wasxfail") else "passed"
    return ""


def worker_of(report: pytest.TestReport) -> str:
    """Give the worker of xdist that ran a phase; empty without xdist."""
    node = getattr(report, "node", None)
    return str(node.gateway.id) if node is not None else ""
