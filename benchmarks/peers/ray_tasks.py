"""Ray: tasks of a thousand items, a bounded number in flight, gathered in order in batches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from benchmarks import functions
from benchmarks.gather import gather_in_order

#: tasks in flight, and results asked for at once: the best of what was tried (8 to 1,000, 1 to 1,000)
WINDOW, BATCH = 400, 100


def map_range(items: int, chunksize: int) -> dict[str, float]:
    """Map over a range in tasks of `chunksize` items; a few tasks run first, so that both workers exist."""
    import ray

    started = time.perf_counter()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        task = ray.remote(_work)
        ray.get([task.remote(0, 1) for _ in range(4)])
        return gather_in_order(_results(ray, task, items, chunksize), items, started)
    finally:
        ray.shutdown()


def _work(start: int, stop: int) -> list[int]:
    return [functions.identity(item) for item in range(start, stop)]


def _results(ray: Any, task: Any, items: int, chunksize: int) -> Iterator[int]:
    starts = iter(range(0, items, chunksize))
    pending: deque[Any] = deque()
    while True:
        while len(pending) < WINDOW and (start := next(starts, None)) is not None:
            pending.append(task.remote(start, min(start + chunksize, items)))
        if not pending:
            return
        batch = [pending.popleft() for _ in range(min(BATCH, len(pending)))]
        for results in ray.get(batch):
            yield from results
