"""Where a chunk of text begins and ends: every line is read exactly once, and nothing is read to plan.

Files are laid end to end and cut at even byte positions, wherever these fall. A line belongs to the chunk in
whose range its first byte is; so whoever reads a chunk looks one byte back (is this a line's beginning?) and
reads past the end to finish the last line. Files that can't be cut (compressed) are chunks of their own
between such runs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, groupby
from operator import itemgetter
from typing import NamedTuple

#: bytes of a chunk of lines, at the most, when nobody said
MOST_BYTES = 8 << 20


class Piece(NamedTuple):
    """The bytes [start, stop) of a file; `whole`: all of it, however long it turns out to be."""

    file: int
    start: int
    stop: int
    whole: bool


class Run(NamedTuple):
    """Neighbouring files cut the same way: `whole`: a chunk each; otherwise evenly, as one row of bytes."""

    files: int
    chunks: int
    whole: bool


def own_lines(data: bytes, head: int, length: int, final: bool) -> tuple[int, int] | None:
    """Return which part [begin, end) of `data` are the lines whose first byte is in a range of a file.

    `data` holds `head` bytes before the range (1, or 0 where the range begins the file), the `length` bytes
    of the range, and some bytes after it; `final` says that it reaches the end of the file. None: the last
    line ends later, so more is needed.
    """
    begin = data.find(b"\n", 0, head + length - 1) + 1 if head else 0
    if head and not begin:
        return 0, 0
    end = data.find(b"\n", head + length - 1) + 1
    if end:
        return begin, end
    return (begin, len(data)) if final else None


def even_cut(total: int, chunks: int, index: int) -> tuple[int, int]:
    """Return the range [start, stop) of part `index` when `total` is cut into `chunks` even parts."""
    return index * total // chunks, (index + 1) * total // chunks


def default_bytes(total: int) -> int:
    """Return the bytes of a chunk when nobody said: at least 64 chunks, each between 64 KiB and 8 MiB."""
    return min(max(-(-total // 64), 64 << 10), MOST_BYTES)


def cut_files(sizes: Sequence[int], whole: Sequence[bool], size: int | None, count: int | None) -> list[Run]:
    """Return the runs of files cut into chunks of at most `size` bytes, or into `count` chunks in all.

    The count is met exactly unless there are more files that can't be cut, or fewer bytes. Without size and
    count: see `default_bytes`.
    """
    pairs = zip(whole, sizes, strict=True)
    series = [(flag, [size for _, size in group]) for flag, group in groupby(pairs, itemgetter(0))]
    total = sum(sum(group) for flag, group in series if not flag)
    wanted = max(count - sum(whole), 1) if count is not None else 0
    runs = []
    before = 0
    for flag, group in series:
        after = before + (0 if flag else sum(group))
        if flag:
            chunks = len(group)
        elif count is not None:
            share = (after * wanted // total - before * wanted // total) if total else 0
            chunks = min(max(share, 1), after - before)
        else:
            chunks = -(-(after - before) // (size or default_bytes(total)))
        runs.append(Run(len(group), chunks, flag))
        before = after
    return runs


class Cuts:
    """Which pieces of which files a chunk is made of, found by two binary searches."""

    def __init__(self, sizes: Sequence[int], runs: Sequence[Run]) -> None:
        self._runs = runs
        self._first_chunk = [0, *accumulate(run.chunks for run in runs)]
        self._first_file = [0, *accumulate(run.files for run in runs)]
        self._starts = [0, *accumulate(sizes)]

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return self._first_chunk[-1]

    def pieces(self, chunk: int) -> list[Piece]:
        """Return the pieces of a chunk in order; none is empty, but that of a whole file may be."""
        at = bisect_right(self._first_chunk, chunk) - 1
        run, chunk, file = self._runs[at], chunk - self._first_chunk[at], self._first_file[at]
        starts = self._starts
        if run.whole:
            file += chunk
            return [Piece(file, 0, starts[file + 1] - starts[file], True)]
        origin = starts[file]
        start, stop = even_cut(starts[file + run.files] - origin, run.chunks, chunk)
        start, stop = start + origin, stop + origin
        pieces = []
        file = bisect_right(starts, start) - 1
        while start < stop:
            end = min(stop, starts[file + 1])
            if end > start:
                pieces.append(Piece(file, start - starts[file], end - starts[file], False))
            start, file = end, file + 1
        return pieces
