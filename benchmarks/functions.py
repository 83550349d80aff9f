"""The work itself: functions that Gristmill and every peer call, so that only what is around them differs."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

#: bytes split into words at a time: so the words stay in the processor's cache (the best of 16 KiB to 1 MiB)
PIECE_BYTES = 16 * 1024
#: how long `spin` takes
SPIN_SECONDS = 0.001


def identity(item: int) -> int:
    """Do nothing: what is measured is everything else."""
    return item


def spin(item: int) -> int:
    """Be busy for one millisecond of wall time, so that the ideal duration of a job is known exactly."""
    stop = time.perf_counter() + SPIN_SECONDS
    while time.perf_counter() < stop:
        pass
    return item


def tally(data: bytes, counts: Counter[bytes]) -> None:
    """Add the words of whole lines to `counts`: the fastest Python that we found, used by every side."""
    position, end = 0, len(data)
    while position < end:
        cut = data.find(b"\n", position + PIECE_BYTES) + 1 or end
        counts.update(data[position:cut].split())
        position = cut


def count_words(lines: Any) -> dict[str, int]:
    """Count the words of a chunk of lines (words end at ASCII white space, as for `bytes.split`)."""
    counts: Counter[bytes] = Counter()
    for block in lines.blocks():
        tally(block, counts)
    return decode_keys(counts)


def decode_keys(counts: Counter[bytes]) -> dict[str, int]:
    """Return the counts by text: decoded once a distinct word, not once a word."""
    return {word.decode(): count for word, count in counts.items()}


def add_counts(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    """Add two counts; the larger one is changed and returned."""
    if len(left) < len(right):
        left, right = right, left
    get = left.get
    for word, count in right.items():
        left[word] = get(word, 0) + count
    return left
