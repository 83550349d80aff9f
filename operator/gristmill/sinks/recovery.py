"""What an output folder knows of its job: a queue may lose its memory, the work is not lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from gristmill.planning.cover import tile
from gristmill.planning.intervals import complement
from gristmill.planning.plan import Plan
from gristmill.planning.values import DeadLetter
from gristmill.sinks import layout
from gristmill.sinks.parts import read_parts
from gristmill.sinks.sidecars import Sidecar
from gristmill.sinks.store import Store


@dataclass(frozen=True)
class Recovered:
    """What is finished. Nothing is told twice.

    `done`: chunk ranges without dead items, sorted, apart; `dead`: the dead letters of complete blocks (the
    chunks that they are in need no more work either); `items`: results in `done` and in complete blocks;
    `split`: the number of items of chunks that dead items are of. Some items of a chunk are not enough to keep.
    """

    done: list[tuple[int, int]]
    dead: list[DeadLetter]
    complete_blocks: list[int]
    items: int
    split: dict[int, int]


def recover(store: Store, plan: Plan, sizes: Mapping[str, int]) -> Recovered:
    """Read sidecars, and footers of other blocks' parts; `sizes` of the files that sidecars speak of."""
    done: list[tuple[int, int]] = []
    dead: list[DeadLetter] = []
    complete: list[int] = []
    split: dict[int, int] = {}
    items = 0
    for data in store.read_many(sorted(store.list(layout.BLOCKS))):
        sidecar = Sidecar.from_json(data, plan.digest)
        if sidecar is None or not sidecar.is_whole(sizes.get):
            continue
        complete.append(sidecar.block)
        dead += sidecar.dead
        split |= dict(sidecar.split)
        items += sidecar.items
        holes = [(letter.chunk, letter.chunk + 1) for letter in sidecar.dead]
        done += complement(holes, *plan.block_range(sidecar.block))
    staged: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for name, size in store.list(layout.PARTS, deep=True).items():
        staged[layout.block_of(name)].append((name, size))
    for block in sorted(staged.keys() - set(complete)):
        parts = read_parts(store, staged[block], plan.digest)
        pieces = [segment for part in parts for segment in part.segments]
        totals = {segment.start: part.total for part in parts for segment in part.segments if segment.high}
        bounds = plan.block_range(block)
        tiling = tile(pieces, *bounds, items=totals)
        done += complement(tiling.missing, *bounds)
        items += sum(pieces[index].items for index in tiling.chosen)
    return Recovered(_joined(sorted(done)), dead, sorted(complete), items, split)


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, stop in ranges:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined
