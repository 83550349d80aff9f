"""Dask bag: text read and cut by Dask, counted a partition at a time, merged in a tree, by two processes."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable

from benchmarks import corpus, functions
from benchmarks.peers.pool import byte_ranges, read_lines

#: forked, so that the two processes need not import Dask again
CONFIGURATION = {"scheduler": "processes", "num_workers": 2, "multiprocessing.context": "fork"}
#: the best of 8 to 64 MiB
BLOCKSIZE = 16 * 1024 * 1024
#: for the second way: few, so that few dictionaries travel, and enough that both processes end together
PARTITIONS = 8


def word_count(folder: str) -> dict[str, float]:
    """Count words with `read_text` and `reduction`.

    A partition's lines are joined and split at once: faster than a loop over lines.
    """
    import dask
    import dask.bag

    dask.config.set(CONFIGURATION)
    started = time.perf_counter()
    lines = dask.bag.read_text(corpus.files(folder), blocksize=BLOCKSIZE, encoding="utf-8")
    result = lines.reduction(_count, _merge, split_every=16).compute()
    seconds = time.perf_counter() - started
    corpus.check(result, folder)
    return {"seconds": seconds}


def _count(lines: Iterable[str]) -> dict[str, int]:
    counts: Counter[bytes] = Counter()
    functions.tally("".join(lines).encode(), counts)
    return functions.decode_keys(counts)


def _merge(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        total = functions.add_counts(total, part)
    return total


def ranges_word_count(folder: str) -> dict[str, float]:
    """Count words of byte ranges that each partition reads itself: Dask as no more than a scheduler."""
    import dask
    import dask.bag

    dask.config.set(CONFIGURATION)
    started = time.perf_counter()
    ranges = dask.bag.from_sequence(byte_ranges(folder), npartitions=PARTITIONS)
    result = ranges.reduction(_count_ranges, _merge, split_every=PARTITIONS).compute()
    seconds = time.perf_counter() - started
    corpus.check(result, folder)
    return {"seconds": seconds}


def _count_ranges(ranges: Iterable[tuple[str, int, int]]) -> dict[str, int]:
    counts: Counter[bytes] = Counter()
    for path, start, stop in ranges:
        descriptor = os.open(path, os.O_RDONLY)
        functions.tally(read_lines(descriptor, start, stop), counts)
        os.close(descriptor)
    return functions.decode_keys(counts)
