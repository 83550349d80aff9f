"""The clock by which time-outs are judged: nobody sets it, and it goes on while the machine sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

#: returns seconds since some moment
Clock = Callable[[], float]


def boot_time() -> float:
    """Return seconds since the machine was started, its sleep included where the system can tell."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def wall_time(unlike: str = "") -> str:
    """Return the time of day for people, in microseconds; never the one that is given.

    Nothing is decided by it, but that two of one writer differ.
    """
    now = datetime.now(UTC)
    text = _text(now)
    return text if text != unlike else _text(now.replace(microsecond=(now.microsecond + 1) % 1_000_000))


def _text(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
