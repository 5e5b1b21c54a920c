"""Sends a run's events to a COS that is running, if one is named; a run never waits for it or fails by it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cos.green.clock import monotonic

if TYPE_CHECKING:
    from cos.green.log import Log

_LIMIT_S = 2.0
_PAUSE_S = 5.0
_AT_ONCE = 200


@dataclass(slots=True)
class Publisher:
    """Posts events in their order; those that could not be sent are sent with the next ones."""

    url: str
    run: str
    sent: int = 0
    _not_before: float = 0.0

    @classmethod
    def of(cls, url: str | None, run: str) -> Publisher:
        """Make one; without a URL it does nothing."""
        return cls((url or "").rstrip("/"), run)

    def send(self, log: Log, *, last: bool = False) -> None:
        """Send what is new.

        Args:
            log: of the run.
            last: whether this is the final chance, so that a pause after a failure is not kept.
        """
        if not self.url.startswith(("http://", "https://")) or (monotonic() < self._not_before and not last):
            return
        for event in log.events(self.run, self.sent)[:_AT_ONCE]:
            body = {
                "module": "cc",
                "type": f"green.{event.kind}",
                "subject": self.run,
                "time": event.time,
                "idempotency_key": f"green-{self.run}-{event.seq}",
                "data": {"seq": event.seq, **event.body},
            }
            request = urllib.request.Request(  # noqa: S310 - the scheme was checked above
                f"{self.url}/events", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=_LIMIT_S):  # noqa: S310 - as above
                    self.sent = event.seq
            except (urllib.error.URLError, OSError, ValueError):
                self._not_before = monotonic() + _PAUSE_S
                return
