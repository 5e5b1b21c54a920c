"""The event log: append-only SQLite under .cos/green; what was not written down did not happen."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cos.green.clock import now
from cos.green.errors import BadLog, NoDiskSpace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SCHEMA = """
create table if not exists event (
    seq integer primary key autoincrement, run text not null, kind text not null, body text not null, time text not null
);
create index if not exists event_of_run on event (run, seq);
create trigger if not exists event_no_update before update on event
    begin select raise(abort, 'the log is append-only'); end;
create trigger if not exists event_no_delete before delete on event
    begin select raise(abort, 'the log is append-only'); end;
"""
# the index on (run, seq) serves one run, the primary key all of them
_OF_RUN = "select seq, run, kind, body, time from event where seq > ? and (? is null or run = ?) order by seq"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; `seq` grows without end, `time` is ISO 8601 in UTC."""

    seq: int
    run: str
    kind: str
    body: dict[str, Any]
    time: str


class Log:
    """Events on disk. An append returns once the event would survive a power cut (`synchronous=FULL`)."""

    def __init__(self, path: Path) -> None:
        """Open or make the log.

        Args:
            path: the database file.

        Raises:
            BadLog: the file is not such a log.
            NoDiskSpace: the disk is full.
        """
        self.path = path
        with self._explained():
            self._db = sqlite3.connect(path, timeout=30.0, isolation_level=None)
            self._db.execute("pragma journal_mode=wal")
            self._db.execute("pragma synchronous=full")
            self._db.executescript(_SCHEMA)

    def append(self, run: str, kind: str, **body: Any) -> Event:
        """Write one event down.

        Args:
            run: the run that it belongs to.
            kind: what happened.
            **body: JSON values.

        Raises:
            NoDiskSpace: the disk is full; nothing was written.
        """
        text, time = json.dumps(body, sort_keys=True), now().isoformat(timespec="milliseconds")
        with self._explained():
            done = self._db.execute(
                "insert into event (run, kind, body, time) values (?, ?, ?, ?)", (run, kind, text, time)
            )
        return Event(done.lastrowid or 0, run, kind, body, time)

    def events(self, run: str | None = None, after: int = 0) -> list[Event]:
        """Give events in their order.

        Args:
            run: of one run; None for all.
            after: only those with a greater `seq`.
        """
        with self._explained():
            rows = self._db.execute(_OF_RUN, (after, run, run)).fetchall()
        return [Event(seq, of, kind, json.loads(body), time) for seq, of, kind, body, time in rows]

    def last_run(self) -> str | None:
        """Give the newest run that `run` started, or None."""
        with self._explained():
            row = self._db.execute(
                "select run from event where kind = 'run_started' order by seq desc limit 1"
            ).fetchone()
        return row[0] if row else None

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                raise NoDiskSpace from None
            raise BadLog(f"The event log {self.path} cannot be used ({error}).") from None
        except sqlite3.DatabaseError as error:
            raise BadLog(
                f"The event log {self.path} is damaged ({error}): move it away to begin a new one."
            ) from None
