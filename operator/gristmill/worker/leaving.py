"""When a worker goes: SIGTERM was sent, or the process that started it is gone."""

from __future__ import annotations

import os
import signal
from typing import Any


class Leave(Exception):  # noqa: N818
    """It is time to go."""


class Leaving:
    """Takes over SIGTERM of this process, and ignores SIGINT: Ctrl-C is for whoever started the worker."""

    def __init__(self, parent: int | None) -> None:
        self._parent = parent
        self._asked = False
        signal.signal(signal.SIGTERM, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        #: readable when a signal came, or a child ended, so that a selector wakes up
        self.reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def check(self) -> None:
        """Raise Leave when it is time."""
        if self._asked or (self._parent is not None and os.getppid() != self._parent):
            raise Leave

    def heard(self) -> None:
        """Read what made `reader` readable."""
        os.read(self.reader, 512)

    def _note(self, *_: Any) -> None:
        self._asked = True
