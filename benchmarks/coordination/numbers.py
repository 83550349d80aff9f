"""How often, and how long: what each side is asked."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import Any

#: calls before those that count
_WARM = 20


async def rate(number: int, call: Callable[[], Awaitable[Any]]) -> dict[str, float]:
    """Return how often a second a call can be made, one after the other."""
    for _ in range(_WARM):
        await call()
    begin = time.perf_counter()
    for _ in range(number):
        await call()
    return {"rate": number / (time.perf_counter() - begin)}


def times(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile of times, less the first ones, in ms."""
    counted = sorted(seconds[min(_WARM, len(seconds) // 5) :])
    return {"median": median(counted) * 1000, "p99": counted[int(len(counted) * 0.99)] * 1000}
