"""Chunks of a thousand items: what an item costs once the chunk's cost is spread."""

from __future__ import annotations

from benchmarks.comparison import Against, compare
from benchmarks.harness import Options, Side
from benchmarks.rows import Row

NAME = "thousand-item-chunks"
SUMMARY = "chunks of 1,000 items, nothing to do, against Pool.imap and Ray"


def run(options: Options) -> list[Row]:
    """Compare rates, from the first result to the last."""
    fast, slow = options.pick(20_000_000, 5_000_000), options.pick(5_000_000, 2_000_000)
    pool = Side("Pool.imap(chunksize=1000)", "peers.pool:map_range", {"items": fast, "chunksize": 1000})
    work = {"items": slow, "chunksize": 1000}
    ray = Side("Ray, tasks of 1000", "peers.ray_tasks:map_range", work, needs="ray", accounted=False)
    return compare(
        NAME,
        Side("gristmill, chunks of 1000", "ours:map_range", {"items": fast, "size": 1000}),
        [Against(pool, target=1.2, goal=2), Against(ray, target=3)],
        options,
        also=["rate_with_start"],
    )
