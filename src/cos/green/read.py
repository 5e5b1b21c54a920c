"""Opens a record of a run, whichever of the three kinds it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cos.green.errors import UnreadableReport
from cos.green.parse_junit import parse_junit
from cos.green.parse_report import parse_report
from cos.green.parse_text import parse_text

if TYPE_CHECKING:
    from pathlib import Path

    from cos.green.failure import Run

_LIMIT_BYTES = 512 * 1024 * 1024


def read_run(path: Path) -> Run:
    """Read a JUnit XML, a report in JSON Lines or a pytest text log; the content decides, not the name.

    Args:
        path: the file.

    Returns:
        The run.

    Raises:
        UnreadableReport: the file cannot be opened, is larger than 512 MiB, or holds none of the three.
    """
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            raise UnreadableReport(
                f"The file {path} is larger than {_LIMIT_BYTES} bytes: give the failing part of it."
            )
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableReport(
            f"The file {path} cannot be read ({error.strerror}): check the path."
        ) from None
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"<":
        run = parse_junit(data.lstrip(b" \t\r\n"))
    elif start == b"{":
        run = parse_report(_text(data))
    else:
        run = parse_text(_text(data))
        if not run.failures and run.total is None and not run.outcomes:
            raise UnreadableReport(
                f"The file {path} is not a JUnit XML, a pytest text log or a report in JSON Lines: "
                "write one with `pytest --junitxml=FILE` or `pytest -rfE | tee FILE`."
            )
    run.source = str(path)
    return run


def _text(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    return data.decode("utf-8-sig", errors="replace")
