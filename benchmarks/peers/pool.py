"""`multiprocessing.Pool`: what people write first, and the best word count that we can write with it."""

from __future__ import annotations

import gc
import os
import pickle
import time
from collections import Counter
from multiprocessing import Pool, Value
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from benchmarks import corpus, functions
from benchmarks.gather import gather_in_order

#: bytes that a process takes at a time: both end together, and taking costs nothing
TASK_BYTES = 4 * 1024 * 1024

_next_task: Synchronized[int]


def map_range(items: int, chunksize: int) -> dict[str, float]:
    """`imap` over a range: the results arrive in order while it runs."""
    started = time.perf_counter()
    with Pool(2) as pool:
        return gather_in_order(pool.imap(functions.identity, range(items), chunksize), items, started)


def word_count(folder: str) -> dict[str, float]:
    """Count words with two processes and nothing to spare.

    Byte ranges taken from a shared counter (balance without a queue), read with `pread`, counted into one
    dictionary a process, so that only two dictionaries are ever pickled and merged; no garbage collector.
    """
    started = time.perf_counter()
    tasks = byte_ranges(folder)
    with Pool(2, _share, (Value("q", 0),)) as pool:
        counts: Counter[bytes] = Counter()
        for pickled in pool.imap_unordered(_count_until_empty, [tasks, tasks]):
            counted = pickle.loads(pickled)
            if counts:
                _add(counts, counted)
            else:
                counts = counted
        result = functions.decode_keys(counts)
        seconds = time.perf_counter() - started
    corpus.check(result, folder)
    return {"seconds": seconds}


def count_only(folder: str) -> dict[str, float]:
    """Count as `word_count` does, and throw the counts away: what both sides pay for the counting itself."""
    started = time.perf_counter()
    tasks = byte_ranges(folder)
    with Pool(2, _share, (Value("q", 0),)) as pool:
        sizes = list(pool.imap_unordered(_distinct, [tasks, tasks]))
        seconds = time.perf_counter() - started
    assert all(sizes), "each process has counted something"
    return {"seconds": seconds}


def byte_ranges(folder: str) -> list[tuple[str, int, int]]:
    """Cut the files into (path, start, stop); a line belongs to the range in which its first byte is."""
    ranges = []
    for path in corpus.files(folder):
        size = os.path.getsize(path)
        ranges += [(path, start, min(start + TASK_BYTES, size)) for start in range(0, size, TASK_BYTES)]
    return ranges


def _share(counter: Synchronized[int]) -> None:
    global _next_task
    _next_task = counter
    gc.disable()


def _count_until_empty(tasks: list[tuple[str, int, int]]) -> bytes:
    return pickle.dumps(dict(_counted(tasks)), pickle.HIGHEST_PROTOCOL)


def _distinct(tasks: list[tuple[str, int, int]]) -> int:
    return len(_counted(tasks))


def _counted(tasks: list[tuple[str, int, int]]) -> Counter[bytes]:
    counts: Counter[bytes] = Counter()
    descriptors: dict[str, int] = {}
    while True:
        with _next_task.get_lock():
            number = _next_task.value
            _next_task.value += 1
        if number >= len(tasks):
            break
        path, start, stop = tasks[number]
        if path not in descriptors:
            descriptors[path] = os.open(path, os.O_RDONLY)
        functions.tally(read_lines(descriptors[path], start, stop), counts)
    return counts


def read_lines(descriptor: int, start: int, stop: int) -> bytes:
    """Return the lines whose first bytes are in the range."""
    data = os.pread(descriptor, stop - start, start)
    if start and os.pread(descriptor, 1, start - 1) != b"\n":
        data = data[data.find(b"\n") + 1 or len(data) :]
    while not data.endswith(b"\n"):
        more = os.pread(descriptor, 4096, stop)
        if not more:
            break
        cut = more.find(b"\n") + 1 or len(more)
        data += more[:cut]
        stop += cut
    return data


def _add(counts: Any, more: dict[bytes, int]) -> None:
    get = counts.get
    for word, count in more.items():
        counts[word] = get(word, 0) + count
