"""What the signals of a COS process mean: SIGINT and SIGTERM stop it, SIGHUP lets it read its settings again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from typing import TYPE_CHECKING

import structlog

from cos.common import log
from cos.config import reload
from cos.errors import CosError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cos.config import Settings

_log = structlog.get_logger("cos.settings")


class Signals:
    """Owns the signals of the process from when it is made; needs a running event loop.

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
        try:
            taken, later = reload(self._settings)
        except CosError as error:
            _log.error("settings_not_reloaded", error=error.detail)
            return
        log.configure(level=self._settings.log_level, shape=self._settings.log_format)
        for tell in self.on_reload:
            tell()
        _log.info("settings_reloaded", changed=taken, need_a_restart=later)


def _is_terminal(descriptor: int) -> bool:
    """Tell whether a terminal is there and still has somebody at its other end."""
    try:
        if not os.isatty(descriptor):
            return False
        termios.tcgetattr(descriptor)
    except (OSError, termios.error):
        return False
    return True
