"""Work that nobody waits for: it runs in a process of its own and outlives this one."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_SECONDS: Final = 10.0


def begin_aside(program: Sequence[str]) -> None:
    """Begin a program and return at once; what it says and how it ends is lost.

    Args:
        program: its path and arguments; trusted.
    """
    # The shell ends as soon as the program has begun: no child is left that this process would have to collect.
    subprocess.run(  # noqa: S603  (the arguments reach the program as they are)
        ["/bin/sh", "-c", 'nice -n 19 "$@" &', "sh", *program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        timeout=_SECONDS,
        check=False,
    )
