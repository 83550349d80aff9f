"""Many processes that want one lock: how long from one to the next, and how often one that came later had it before."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import mean
from typing import Any

from benchmarks.coordination.numbers import times

#: seconds of a lease: nobody dies here
_SECONDS = 60


def ours(namespace: str, processes: int, rounds: int) -> dict[str, float]:
    """Contend for a lock of Gristmill's."""
    from gristmill.coordination import sync

    if "GRISTMILL_COORDINATION" not in os.environ:
        import kubernetes.aio.client
        import kubernetes.aio.config  # noqa: F401

    def lock() -> Any:
        client = sync.connect(namespace=namespace)
        with client.lock(f"warm-{os.getpid()}"):
            pass
        return client.lock("wanted", seconds=_SECONDS)

    return _contend(lock, processes, rounds)


def redis_py(url: str, processes: int, rounds: int) -> dict[str, float]:
    """Contend for a lock of redis-py's."""
    from redis import Redis

    def lock() -> Any:
        client = Redis.from_url(url)
        client.ping()
        return client.lock("wanted", timeout=_SECONDS)

    return _contend(lock, processes, rounds)


def _contend(lock: Callable[[], Any], processes: int, rounds: int) -> dict[str, float]:
    start_reader, start_writer = os.pipe()
    reader, writer = os.pipe()
    children = []
    for _ in range(processes):
        if (child := os.fork()) == 0:
            os.close(start_writer)
            turns = _turns(lock(), start_reader, writer, rounds)
            os.write(writer, f"{json.dumps(turns)}\n".encode())
            os._exit(0)
        children.append(child)
    os.close(writer)
    os.close(start_reader)
    with os.fdopen(reader) as said:
        for _ in children:
            assert said.readline() == "ready\n"
        os.close(start_writer)
        by_process = [json.loads(line) for line in said]
    turns = sorted((turn for mine in by_process for turn in mine), key=lambda turn: turn[1])
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert len(turns) == processes * rounds
    assert all(one[2] <= other[1] for one, other in pairwise(turns)), "two had it at once"
    pairs = pairwise(turns)
    waited = [after[1] - before[2] for before, after in pairs if after[0] < before[2]]
    # (the first time all come at the same moment)
    first = max(min(turn[0] for turn in mine) for mine in by_process) if rounds > 1 else 0.0
    late = [sum(one[0] > turn[0] for one in turns[:n]) for n, turn in enumerate(turns) if turn[0] > first]
    return {**times(waited), "late": mean(late), "latest": max(late)}


def _turns(lock: Any, start: int, ready: int, rounds: int) -> list[tuple[float, float, float]]:
    """Return when this process came, had the lock, and began to give it up, each time."""
    os.write(ready, b"ready\n")
    os.read(start, 1)
    turns = []
    for _ in range(rounds):
        came = time.perf_counter()
        lock.acquire()
        had = time.perf_counter()
        turns.append((came, had, time.perf_counter()))
        lock.release()
    return turns
