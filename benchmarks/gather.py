"""Take results as they come, check each, and tell two rates: once it flows, and with the start-up."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

#: results compared at once: the check costs every side the same few nanoseconds a result
BATCH = 4096


def gather_in_order(results: Iterable[Any], count: int, started: float) -> dict[str, float]:
    """Take all results, check that they are 0, 1, … count-1, and return items/s.

    `rate` runs from the first result to the last, so it says nothing of how long processes take to start;
    `rate_with_start` runs from `started`.
    """
    iterator = iter(results)
    if next(iterator) != 0:
        raise AssertionError("the first result is not that of the first item")
    first = time.perf_counter()
    done = 1
    while batch := list(islice(iterator, BATCH)):
        if batch != list(range(done, done + len(batch))):
            raise AssertionError(f"results after {done} are not those of the next items in order")
        done += len(batch)
    last = time.perf_counter()
    if done != count:
        raise AssertionError(f"{done} results for {count} items")
    return {"rate": (count - 1) / (last - first), "rate_with_start": count / (last - started)}
