"""How fast a run is and how long it still takes: functions of what was seen and when, without a clock.

The rate is that of a sliding window, so that it follows a job whose chunks get slower, and does not jump when
one lease of many chunks is committed at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf

#: seconds that the sliding window looks back
WINDOW_SECONDS = 15.0
#: a run that takes longer (a thousand years) has no end to tell of
_LONG_SECONDS = 1000 * 365 * 86400


class State(StrEnum):
    """One word for people; programs read conditions."""

    PENDING = "Pending"
    PLANNING = "Planning"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"
    #: by its user, in the middle
    STOPPED = "Stopped"


@dataclass(frozen=True, slots=True)
class Sample:
    """So many chunks were settled at this time (seconds)."""

    at: float
    settled: int


def state_of(phase: str, suspended: bool, workers: int) -> State:
    """Return the state of a job whose queue says `phase`: one that is removed has failed, whatever it was before."""
    if phase == "complete":
        return State.COMPLETE
    if phase in ("failed", "removing", "removed"):
        return State.FAILED
    if suspended:
        return State.SUSPENDED
    if phase == "planning":
        return State.PLANNING if workers else State.PENDING
    return State.RUNNING


def recent(samples: Sequence[Sample], now: float) -> list[Sample]:
    """Return the samples that the window still needs: those inside it, and the last one before it."""
    begin = now - WINDOW_SECONDS
    inside = [index for index, sample in enumerate(samples) if sample.at >= begin]
    first = max(inside[0] - 1, 0) if inside else max(len(samples) - 1, 0)
    return list(samples[first:])


def rate_of(samples: Sequence[Sample], now: float) -> float | None:
    """Return the chunks settled in a second over the window that ends `now`; None before it begins."""
    window = recent(samples, now)
    if not window or now <= window[0].at:
        return None
    done = window[-1].settled - window[0].settled
    return max(done, 0) / (now - window[0].at)


def eta_of(remaining: int, rate: float | None) -> int | None:
    """Return the seconds until `remaining` chunks are done at `rate`; None where nothing moves, or as good as."""
    if not remaining:
        return 0
    seconds = -(-remaining // rate) if rate else inf
    return int(seconds) if seconds <= _LONG_SECONDS else None
