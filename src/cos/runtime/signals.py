"""What the signals of a COS process mean: SIGINT and SIGTERM stop it, SIGHUP lets it read its settings again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from collections import deque
from typing import TYPE_CHECKING

import structlog

from cos.common import clock, log
from cos.config import LIVE, reload, shown
from cos.errors import CosError
from cos.runtime.reload import Reload, take_note

if TYPE_CHECKING:
    from collections.abc import Callable

    from cos.config import Settings

_log = structlog.get_logger("cos.settings")

#: Reloads that may wait to be recorded.
MOST_RELOADS = 100


class Signals:
    """Owns the signals of the process from when it is made; needs a running event loop.

    Attributes:
        stopping: set when the process shall stop.
        on_reload: called after the settings were read again.
        reloads: what came of each, until it is recorded; the oldest go when nobody records them.
        on_told: called after one was added there.

    A closed terminal also sends SIGHUP, to whom it belonged: COS then stops, as people expect of what they started
    there.
    """

    def __init__(self, settings: Settings) -> None:
        """Take the signals.

        Args:
            settings: what is read again; parts that keep a copy of something in it hear of it by `on_reload`.
        """
        self.stopping = asyncio.Event()
        self.on_reload: list[Callable[[], object]] = []
        self.reloads: deque[Reload] = deque(maxlen=MOST_RELOADS)
        self.on_told: list[Callable[[], object]] = []
        self._settings = settings
        self._terminals = [number for number in range(3) if _is_terminal(number)]
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stopping.set)
        if sys.platform != "win32":
            loop.add_signal_handler(signal.SIGHUP, self.hung_up)

    def hung_up(self) -> None:
        """Stop when the terminal has gone; else read the settings again."""
        if self._terminals and not any(_is_terminal(number) for number in self._terminals):
            self.stopping.set()
            return
        by = take_note(self._settings.data_dir)
        before = {name: shown(getattr(self._settings, name)) for name in LIVE}
        try:
            taken, later = reload(self._settings)
        except CosError as error:
            _log.error("settings_not_reloaded", error=error.detail, by=by)
            self._keep(Reload(at=clock.now(), by=by, error=error.detail))
            return
        log.configure(level=self._settings.log_level, shape=self._settings.log_format)
        for tell in self.on_reload:
            tell()
        _log.info("settings_reloaded", changed=taken, need_a_restart=later, by=by)
        changed = {name: {"from": before[name], "to": shown(getattr(self._settings, name))} for name in taken}
        self._keep(Reload(at=clock.now(), by=by, changed=changed, need_a_restart=later))

    def _keep(self, reload: Reload) -> None:
        self.reloads.append(reload)
        for tell in self.on_told:
            tell()


def _is_terminal(descriptor: int) -> bool:
    """Tell whether a terminal is there and still has somebody at its other end."""
    try:
        if not os.isatty(descriptor):
            return False
        termios.tcgetattr(descriptor)
    except (OSError, termios.error):
        return False
    return True
