"""Chunks of one item and a function that does nothing: what a chunk costs."""

from __future__ import annotations

from benchmarks.comparison import Against, compare
from benchmarks.harness import Options, Side
from benchmarks.rows import Row

NAME = "one-item-chunks"
SUMMARY = "a chunk an item, nothing to do, against Pool.imap in chunks of 1 and of 2,048"


def run(options: Options) -> list[Row]:
    """Compare rates, from the first result to the last: the slow peer gets fewer items."""
    fast, slow = options.pick(20_000_000, 5_000_000), options.pick(250_000, 100_000)
    return compare(
        NAME,
        Side("gristmill, chunks of 1", "ours:map_range", {"items": fast, "size": 1}),
        [
            Against(_pool(slow, 1), target=10, goal=50),
            Against(_pool(fast, 2048), target=1.2),
        ],
        options,
        also=["rate_with_start"],
    )


def _pool(items: int, chunksize: int) -> Side:
    variant = f"Pool.imap(chunksize={chunksize})"
    return Side(variant, "peers.pool:map_range", {"items": items, "chunksize": chunksize})
