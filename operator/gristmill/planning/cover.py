"""Which finished pieces make up a block: why parts of different attempts fit together without a half-overlap.

Segments are dyadic, so any two are nested or disjoint, and the largest one that begins at a position is
always a good choice. What was given up (dead) is a hole of its own; a segment that covers a hole is not used,
for it would give a result to an input that is reported as dead.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gristmill.planning.values import Segment


class Tiling(NamedTuple):
    """`chosen`: indices of the segments, in order; `missing`: the gaps (start, stop) that they leave."""

    chosen: list[int]
    missing: list[tuple[int, int]]


class _Tile(NamedTuple):
    start: int
    stop: int
    chosen: tuple[int, ...] = ()


def tile(
    segments: Sequence[Segment],
    start: int,
    stop: int,
    dead: Iterable[tuple[int, int]] = (),
    items: Mapping[int, int] | None = None,
) -> Tiling:
    """Choose segments that tile the chunks [start, stop) apart from the dead ones.

    `dead` has (chunk, item) positions, item -1 for a whole chunk; `items` the number of items of split
    chunks: the fragments of a chunk count only when they tile all of its items that are not dead.
    """
    holes: dict[int, list[int]] = defaultdict(list)
    for chunk, item in dead:
        if start <= chunk < stop:
            holes[chunk].append(item)
    touched = sorted(holes)
    tiles = [_Tile(chunk, chunk + 1) for chunk in touched if -1 in holes[chunk]]
    fragments: dict[int, list[_Tile]] = defaultdict(list)
    for index, segment in enumerate(segments):
        if segment.start < start or segment.stop > stop:
            continue
        if segment.high > segment.low:
            fragments[segment.start].append(_Tile(segment.low, segment.high, (index,)))
        elif not _any_within(touched, segment.start, segment.stop):
            tiles.append(_Tile(segment.start, segment.stop, (index,)))
    for chunk, number in (items or {}).items():
        lost = holes.get(chunk, [])
        if -1 in lost or not start <= chunk < stop:
            continue
        usable = [
            piece for piece in fragments[chunk] if not _any_within(sorted(lost), piece.start, piece.stop)
        ]
        chosen, missing = _walk([*usable, *(_Tile(item, item + 1) for item in lost)], 0, number)
        if not missing:
            tiles.append(_Tile(chunk, chunk + 1, tuple(chosen)))
    return _walk(tiles, start, stop)


def _walk(tiles: list[_Tile], start: int, stop: int) -> Tiling:
    chosen: list[int] = []
    missing = []
    position = start
    for piece in sorted(tiles, key=lambda piece: (piece.start, -piece.stop)):
        if piece.start < position:
            continue
        if piece.start > position:
            missing.append((position, piece.start))
        chosen.extend(piece.chosen)
        position = piece.stop
    if position < stop:
        missing.append((position, stop))
    return Tiling(chosen, missing)


def _any_within(sorted_positions: list[int], start: int, stop: int) -> bool:
    at = bisect_left(sorted_positions, start)
    return at < len(sorted_positions) and sorted_positions[at] < stop


def fits(start: int, stop: int, end: int) -> bool:
    """Whether [start, stop) is a dyadic interval, or one clipped at `end`."""
    length = stop - start
    if length <= 0:
        return False
    room = start & -start
    return (not start or length <= room) and (stop == end or not length & (length - 1))


def halves(start: int, middle: int, stop: int, end: int) -> bool:
    """Whether [start, middle) and [middle, stop) are halves of an interval that `fits`."""
    left, right = middle - start, stop - middle
    return (
        not left & (left - 1) and not start % (2 * left) and (right == left or (stop == end and right < left))
    )
