"""How much work is taken at a time, from how long it took so far. Pure, so that its rules can be read and tested."""

from __future__ import annotations

from dataclasses import dataclass

from gristmill.planning.intervals import alignment

#: weight of the newest measurement in the moving mean
_NEWEST = 0.5


@dataclass(frozen=True, slots=True)
class Pace:
    """The measured seconds of a chunk; None before the first measurement."""

    seconds: float | None = None

    def after(self, chunks: int, seconds: float) -> Pace:
        """Return the pace after another measurement."""
        if chunks < 1:
            return self
        measured = max(seconds / chunks, 1e-9)
        return Pace(measured if self.seconds is None else self.seconds * (1 - _NEWEST) + measured * _NEWEST)

    def height(self, target: float, highest: int) -> int:
        """Return the height of an interval that takes about `target` seconds; 0 while nothing is known."""
        if self.seconds is None:
            return 0
        return max(0, min(highest, int(target / self.seconds).bit_length() - 1))

    def intervals(self, target: float, height: int, most: int) -> int:
        """Return how many intervals of this height take about `target` seconds: many where heights are bounded."""
        if self.seconds is None:
            return 1
        return max(1, min(most, int(target / self.seconds) >> (height + 1)))

    def reads_ahead(self, limit: float) -> bool:
        """Whether a worker may hold a second interval: a chunk must be short, else another worker would wait for it."""
        return self.seconds is not None and self.seconds < limit


def slice_stop(start: int, stop: int, height: int) -> int:
    """Return the end of the aligned interval at `start` that is inside [start, stop) and at most 2^height long."""
    size = 1 << min(alignment(start), height)
    if start + size <= stop:
        return start + size
    return start + (1 << ((stop - start).bit_length() - 1))
