"""Each key once, by one worker at a time, again when it failed."""

from __future__ import annotations

import asyncio
from collections import Counter

from gristmill.controllers import work_queue
from gristmill.controllers.work_queue import WorkQueue


def test_what_comes_while_it_is_handled_is_handled_once_more() -> None:
    handled: Counter[str] = Counter()
    at_once = 0

    async def run() -> None:
        nonlocal at_once
        running = 0
        gate = asyncio.Event()

        async def handle(key: str) -> None:
            nonlocal running, at_once
            running += 1
            at_once = max(at_once, running)
            handled[key] += 1
            await gate.wait()
            running -= 1

        queue: WorkQueue[str] = WorkQueue(handle)
        workers = [asyncio.ensure_future(queue.work()) for _ in range(3)]
        for _ in range(5):
            queue.add("a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for _ in range(5):
            queue.add("a")
        gate.set()
        while handled["a"] < 2:
            await asyncio.sleep(0)
        for worker in workers:
            worker.cancel()

    asyncio.run(asyncio.wait_for(run(), 10))
    assert handled == {"a": 2}
    assert at_once == 1


def test_what_failed_is_tried_again_until_it_does_not() -> None:
    tries = 0

    async def run() -> None:
        async def handle(key: str) -> None:
            nonlocal tries
            tries += 1
            if tries < 3:
                raise RuntimeError("not yet")

        queue: WorkQueue[str] = WorkQueue(handle)
        worker = asyncio.ensure_future(queue.work())
        queue.add("a")
        while tries < 3:
            await asyncio.sleep(0.01)
        worker.cancel()

    before, work_queue._BACKOFF = work_queue._BACKOFF, (0.001, 0.002)
    try:
        asyncio.run(asyncio.wait_for(run(), 10))
    finally:
        work_queue._BACKOFF = before


def test_the_earlier_of_two_wishes_counts() -> None:
    async def run() -> None:
        seen = asyncio.Event()

        async def handle(key: str) -> None:
            seen.set()

        queue: WorkQueue[str] = WorkQueue(handle)
        worker = asyncio.ensure_future(queue.work())
        queue.add_later("a", 1000)
        queue.add_later("a", 0.001)
        queue.add_later("a", 1000)
        await seen.wait()
        worker.cancel()

    asyncio.run(asyncio.wait_for(run(), 10))
