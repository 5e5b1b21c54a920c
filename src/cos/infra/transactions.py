"""Lets a Postgres that is stopped go on above the transactions of another: its own later ids are then all higher.

Positions are transaction ids. Rows that come from another cluster carry that cluster's, and a younger one would give
the same and lower ids again. pg_resetwal sets the next id of a stopped cluster; this file keeps that safe.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cos.errors import ServerFailed
from cos.infra.account import choose_account, entrance
from cos.infra.binaries import find_postgres_bin
from cos.infra.launch import run_guarded
from cos.infra.logfile import telling_line

if TYPE_CHECKING:
    from cos.infra.account import Account

#: Ids whose commits are noted in one file of `pg_xact`. At such a bound no note of an earlier id is needed: Postgres
#: begins the file when it hands out the first id of it.
SEGMENT: Final = 1 << 20
#: Left free above the last known id: what the other cluster has given out since it was looked at is below this.
MARGIN: Final = 16 * SEGMENT
#: Postgres compares ids modulo 2^32: an id more than 2^31 above the oldest one in use would be taken for a past one.
LONGEST_STEP: Final = 1 << 30
_TIMEOUT_SECONDS: Final = 60.0
_WRAP: Final = 1 << 32


def steps_to(current: int, beyond: int) -> list[int]:
    """Give the next ids to set, one after the other, so that the last is well above `beyond`.

    Args:
        current: the cluster's own next id.
        beyond: the highest foreign id. When `current` is well above that already there is nothing to do.

    Between two of them every row must be frozen (VACUUM FREEZE in each database).
    """
    if current > beyond + MARGIN:
        return []
    target = (beyond + MARGIN) // SEGMENT * SEGMENT + SEGMENT
    if target % _WRAP == 0:
        target += SEGMENT  # the ids 0 to 2 of each round are not given out
    steps = []
    while target - current > LONGEST_STEP:
        current = (current + LONGEST_STEP) // SEGMENT * SEGMENT
        current += SEGMENT if current % _WRAP == 0 else 0
        steps.append(current)
    return [*steps, target]


async def set_next(cluster: Path, following: int) -> None:
    """Set the next transaction id of a cluster that was shut down.

    Args:
        cluster: its folder.
        following: a multiple of `SEGMENT`, above every id in use and less than 2^31 above the oldest.

    Raises:
        ServerFailed: it cannot be set; quotes why.
    """
    account: Account | None = await choose_account()
    way = entrance(account, [cluster])
    epoch, low = divmod(following, _WRAP)
    program = (str(find_postgres_bin() / "pg_resetwal"), "-x", str(low), "-e", str(epoch), "-D", way.paths[0])
    code, text = await run_guarded(
        program, stop_signal=signal.SIGTERM, timeout_seconds=_TIMEOUT_SECONDS, options=way.options
    )
    if code != 0:
        raise ServerFailed(
            f"The transaction ids of {cluster} could not be set: {telling_line(text) or f'exit code {code}'}."
        )
