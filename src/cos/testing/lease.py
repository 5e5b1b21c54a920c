"""A fault that is there now, and how it ends."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cos.testing.backstage import Backstage


class Lease:
    """One fault, made when this is; it ends with `heal`, the `with` block, the test, or its deadline.

    States: armed → healed; whoever comes first moves it, and the others find nothing to do.
    """

    def __init__(
        self, name: str, *, heal: Callable[[], None], seconds: float, backstage: Backstage | None = None
    ) -> None:
        """Hold a fault that has been made.

        Args:
            name: such as "redis.stop".
            heal: ends it; called once, from any thread.
            seconds: its deadline.
            backstage: keeps the deadline; None where the guard or the proxy does.
        """
        self.name = name
        self.healed = False
        self.overdue = False
        self._heal = heal
        self._lock = threading.Lock()
        self._call_off = backstage.later(seconds, self._pass_away) if backstage else None

    def heal(self) -> None:
        """End the fault; returns when it is over.

        Raises:
            Unavailable: it could not be ended yet; says why. It may be tried again.
        """
        with self._lock:
            if self.healed:
                return
            self._heal()
            self.healed = True
        if self._call_off is not None:
            self._call_off()

    async def aheal(self) -> None:
        """Do what `heal` does without holding up the event loop."""
        await asyncio.to_thread(self.heal)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.aheal()
        except asyncio.CancelledError:
            self.heal()
            raise

    def _pass_away(self) -> None:
        self.overdue = not self.healed
        self.heal()

    def __repr__(self) -> str:
        return f"<{self.name}, {'healed' if self.healed else 'armed'}>"
