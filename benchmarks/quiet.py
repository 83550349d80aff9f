"""Whether the machine was ours alone: numbers that were taken beside other work say little."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

#: the share of the processors that others may take before it is worth a word
TOLERATED = 0.05
_LOOK_SECONDS = 0.25
_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Processor seconds up to now: of the whole machine, and of this process's descendants that have ended."""

    at: float
    machine: float
    own: float

    @classmethod
    def now(cls) -> Usage:
        """Look."""
        with open("/proc/stat") as file:
            user, nice, system, _, _, irq, softirq, steal, *_ = map(int, file.readline().split()[1:])
        ended, itself = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
        own = ended.ru_utime + ended.ru_stime + itself.ru_utime + itself.ru_stime
        return cls(time.monotonic(), (user + nice + system + irq + softirq + steal) / _TICKS, own)

    def others_since(self, before: Usage) -> float:
        """Return the share of the processors that others took since then."""
        busy = (self.machine - before.machine) - (self.own - before.own)
        return max(0.0, busy / (self.at - before.at) / len(os.sched_getaffinity(0)))


def wait_for_quiet(patience: float) -> None:
    """Wait until others leave the machine alone, or so many seconds."""
    until = time.monotonic() + patience
    while True:
        before = Usage.now()
        time.sleep(_LOOK_SECONDS)
        if Usage.now().others_since(before) < TOLERATED or time.monotonic() > until:
            return


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that their time is counted as ours."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def bury_orphans() -> None:
    """Take note of adopted processes that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
