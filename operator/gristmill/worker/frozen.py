"""Processes that a signal has stopped: found by whoever started them, who can't wait for them for ever."""

from __future__ import annotations

import os
import time
from multiprocessing.process import BaseProcess

#: a process that has been frozen for so many lease times will not be waited for
LEASES = 3


def is_frozen(process: BaseProcess) -> bool:
    """Whether a child process is stopped; never where the system does not tell (macOS before Python 3.13)."""
    if not hasattr(os, "waitid") or process.exitcode is not None or process.pid is None:
        return False
    try:
        return os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # it has ended since: nothing can stop it any more
        return False


class FrozenFor:
    """Measures how long a process has been stopped, if it is looked at again and again."""

    def __init__(self) -> None:
        self._since = 0.0

    def look(self, process: BaseProcess) -> float:
        """Return for how many seconds it has been found stopped; 0 when it runs."""
        now = time.monotonic()
        if not is_frozen(process):
            self._since = 0.0
        elif not self._since:
            self._since = now
        return now - self._since if self._since else 0.0
