"""Many files at once: each waits for its storage, and a disk that syncs for one syncs for all who wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

#: calls at once
THREADS = 16

_T = TypeVar("_T")


def in_parallel(call: Callable[[_T], Any], items: Iterable[_T], stop: threading.Event | None = None) -> None:
    """Call a function with each item, some at once; the first error ends it, when what runs has ended.

    Items are taken as they are needed, so there may be any number of them. `stop` is set by an error or by Ctrl-C, for
    calls that take long.
    """
    waiting: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(THREADS, "volumes")
    try:
        for item in items:
            if len(waiting) >= 2 * THREADS:
                waiting.popleft().result()
            waiting.append(pool.submit(call, item))
        while waiting:
            waiting.popleft().result()
    except BaseException:
        if stop is not None:
            stop.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
