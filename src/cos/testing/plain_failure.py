"""Shows a failure that stands nowhere in a test's own code as its sentence, without a traceback of the kit's."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprFileLocation, ReprTracebackNative

from cos.errors import CosError


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what a check found as a sentence."""
    report = yield
    if report.failed:
        show_plainly(item, call, report)
    return report


def show_plainly(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Replace what a report shows when only the kit's own code raised.

    Args:
        item: the test.
        call: the phase that failed.
        report: of it; left as it is when the error came from anywhere else.
    """
    from cos.testing.sites import MACHINERY, kind_of  # noqa: PLC0415  (most runs have no failure)

    error = call.excinfo.value if call.excinfo else None
    if error is None:
        return
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
    if not all(isinstance(one, CosError) for one in members):
        return
    traceback = error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if kind_of(file) != MACHINERY and "_pytest" not in file and "pluggy" not in file:
            return
        traceback = traceback.tb_next
    lines = [f"{type(one).__name__}: {one}" for one in members]
    lines += getattr(error, "__notes__", [])
    path, line, _ = item.location
    crash = ReprFileLocation(path, (line or 0) + 1, lines[0] if len(members) == 1 else f"{error}")
    shown = ReprTracebackNative([f"{text}\n" for text in lines])
    report.longrepr = ExceptionChainRepr([(shown, crash, None)])
