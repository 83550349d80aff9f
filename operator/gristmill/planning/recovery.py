"""What is left to do when the queue has lost its memory: from what the output holds to what the queue must know."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from gristmill.planning.intervals import complement, decompose
from gristmill.planning.plan import Plan
from gristmill.planning.values import DeadLetter


def what_is_left(
    plan: Plan,
    complete_blocks: Iterable[int],
    done: Iterable[tuple[int, int]],
    items: int,
    dead: Iterable[tuple[DeadLetter, str]],
    fragments: dict[int, int],
) -> dict[str, Any]:
    """Return `recovered` as `lua/chores.lua` describes it.

    `done` are chunks in staged parts; `dead` (with their JSON) and `fragments` (items of split chunks) belong to
    complete blocks.
    """
    blocks = set(complete_blocks)
    ranges = [plan.block_range(block) for block in blocks]
    staged = [piece for a, b in done for piece in _outside(a, b, blocks, plan.block_height)]
    settled = list(complement(complement(ranges + staged, 0, plan.chunks), 0, plan.chunks))
    left = [piece for a, b in complement(settled, 0, plan.chunks) for piece in decompose(a, b)]
    open_blocks: dict[int, int] = defaultdict(int)
    for a, b in complement(complement(staged, 0, plan.chunks), 0, plan.chunks):
        for block in range(a >> plan.block_height, ((b - 1) >> plan.block_height) + 1):
            low, high = plan.block_range(block)
            open_blocks[block] += min(b, high) - max(a, low)
    whole = {b for b, n in open_blocks.items() if n == plan.block_range(b)[1] - plan.block_range(b)[0]}
    return {
        "pieces": left,
        "settled": sum(b - a for a, b in settled),
        "items": items,
        "blocks_done": len(blocks),
        "blocks": [(b, n) for b, n in sorted(open_blocks.items()) if b not in whole],
        "assemble": sorted(whole),
        "splits": [
            (chunk, n) for chunk, n in sorted(fragments.items()) if chunk >> plan.block_height in blocks
        ],
        "dead": [(d.chunk, d.item, d.items, letter) for d, letter in dead],
    }


def _outside(a: int, b: int, blocks: set[int], height: int) -> Iterable[tuple[int, int]]:
    """Yield what of [a, b) is not in a complete block; a staged part is inside one block."""
    if a >> height not in blocks:
        yield a, b
