"""Every chunk leased and committed alone: what the queue's round trip costs where it can't be shared."""

from __future__ import annotations

from benchmarks.comparison import Against, compare
from benchmarks.harness import Options, Side
from benchmarks.rows import Row

NAME = "single-intervals"
SUMMARY = "leases of one chunk of one item, against Celery on the same server"


def run(options: Options) -> list[Row]:
    """Compare rates; Celery gets fewer items, and its workers are up before the clock starts."""
    ours = Side(
        "gristmill, a lease a chunk",
        "ours:map_range",
        {"items": options.pick(60_000, 20_000), "size": 1},
        environment={"GRISTMILL_MAX_HEIGHT": "0"},
    )
    celery = Side(
        "Celery, 2 prefork processes",
        "peers.celery_tasks:map_range",
        {"items": options.pick(5_000, 2_000)},
        needs="celery",
    )
    return compare(NAME, ours, [Against(celery, target=10)], options, also=["rate_with_start"])
