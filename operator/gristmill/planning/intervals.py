"""Dyadic intervals: why no two pieces of work can half-overlap.

Everything that is leased, written, split or reduced is an aligned interval [k·2^h, (k+1)·2^h) of chunk numbers
(clipped at the number of chunks), so any two are nested or disjoint. Inside a chunk the same holds for item numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def alignment(position: int) -> int:
    """Return the largest height that an interval beginning at `position` may have (62 at zero)."""
    return (position & -position).bit_length() - 1 if position else 62


def decompose(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the fewest dyadic intervals (start, stop) that tile [start, stop), in order."""
    while start < stop:
        height = min(alignment(start), (stop - start).bit_length() - 1)
        yield start, start + (1 << height)
        start += 1 << height


def complement(done: Iterable[tuple[int, int]], start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the gaps (start, stop) that the ranges `done` leave in [start, stop); they may overlap and be unsorted."""
    position = start
    for a, b in sorted(done):
        if position >= stop:
            return
        if a > position:
            yield position, min(a, stop)
        position = max(position, b)
    if position < stop:
        yield position, stop


def meet(a: int, b: int) -> int:
    """Return the height of the smallest dyadic interval that holds both positions."""
    return (a ^ b).bit_length()
