"""The four inputs: what the items of chunk i are, computed from the plan alone."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from gristmill.errors import InputError
from gristmill.planning.cuts import MOST_BYTES, Cuts, Piece, Run, own_lines
from gristmill.planning.plan import Plan
from gristmill.sources.access import FileTable
from gristmill.sources.files import File
from gristmill.sources.fresh import FreshItems
from gristmill.sources.text import BLOCK_BYTES, LargeLines, Lines

#: how to decompress a file, by its extension
DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}

#: bytes read past the end of a range in the hope that they hold the end of its last line
_PAST = 4 << 10


class Source(Protocol):
    """Gives the items of chunks."""

    #: whether reading waits for something, so that reading ahead pays
    does_io: bool
    #: items of every chunk but the last (0: only reading tells)
    chunk_size: int

    def read(self, chunk: int) -> Sequence[Any]:
        """Return the items of a chunk. InputChanged when the input is not what was planned, or InputError."""

    def span(self, start: int, stop: int) -> Sequence[Any] | None:
        """Return the items of the chunks [start, stop) as one sequence; None where each is read by itself."""

    def describe(self, chunk: int) -> str:
        """Say in a line for people what a chunk is."""


class SliceSource:
    """The inputs `range` and `items`: chunks are slices of one sequence."""

    does_io = False

    def __init__(self, sequence: Sequence[Any], chunk_size: int) -> None:
        self._sequence = sequence
        self.chunk_size = chunk_size

    def read(self, chunk: int) -> Sequence[Any]:
        """See `Source`."""
        return self._sequence[chunk * self.chunk_size : (chunk + 1) * self.chunk_size]

    def span(self, start: int, stop: int) -> Sequence[Any]:
        """See `Source`."""
        return self._sequence[start * self.chunk_size : stop * self.chunk_size]

    def describe(self, chunk: int) -> str:
        """See `Source`."""
        items = self.read(chunk)
        first = chunk * self.chunk_size
        if isinstance(items, range):
            step = f" in steps of {items.step}" if items.step != 1 else ""
            return f"{items[0]}" if len(items) == 1 else f"{items[0]} to {items[-1]}{step}"
        return f"item {first}" if len(items) == 1 else f"items {first} to {first + len(items) - 1}"


class FilesSource:
    """The input `files`: an item is a file, checked to be the one that was listed, not opened."""

    does_io = True

    def __init__(self, table: FileTable, chunk_size: int) -> None:
        self._table = table
        self.chunk_size = chunk_size

    def read(self, chunk: int) -> Sequence[Any]:
        """See `Source`."""
        files = self._range(chunk)
        for file in files:
            self._table.check(file)
        return [File(self._table.names[file]) for file in files]

    def span(self, start: int, stop: int) -> Sequence[Any] | None:
        """See `Source`."""
        return None

    def describe(self, chunk: int) -> str:
        """See `Source`."""
        files = self._range(chunk)
        name = self._table.names[files[0]]
        return name if len(files) == 1 else f"{name} to {self._table.names[files[-1]]} ({len(files)} files)"

    def _range(self, chunk: int) -> range:
        return range(chunk * self.chunk_size, min((chunk + 1) * self.chunk_size, len(self._table)))


class LinesSource:
    """The input `lines`: text files laid end to end and cut at even byte positions."""

    does_io = True
    chunk_size = 0

    def __init__(self, table: FileTable, runs: Sequence[Run], encoding: str) -> None:
        self._table = table
        self._cuts = Cuts([size or 0 for size in table.sizes], runs)
        self._encoding = encoding

    def read(self, chunk: int) -> Lines:
        """See `Source`. A file without a final line end gets one where another file follows in the chunk."""
        pieces = self._cuts.pieces(chunk)
        if not pieces[0].whole and sum(piece.stop - piece.start for piece in pieces) > MOST_BYTES:
            # (more than a chunk has by default is not read ahead, but when it is asked for)
            return LargeLines(lambda: self._blocks(pieces), self._encoding)
        if len(pieces) == 1:
            return self._read_whole(pieces[0].file) if pieces[0].whole else self._read_lines(pieces[0])
        return Lines(b"".join(self._blocks(pieces)), self._encoding)

    def span(self, start: int, stop: int) -> Sequence[Any] | None:
        """See `Source`."""
        return None

    def describe(self, chunk: int) -> str:
        """See `Source`."""
        pieces = self._cuts.pieces(chunk)
        first, last = pieces[0], pieces[-1]
        name = self._table.names[first.file]
        if first.whole:
            return name
        if len(pieces) == 1:
            return f"{name} bytes {first.start:,} to {first.stop:,}"
        until = f"{self._table.names[last.file]} byte {last.stop:,}"
        return f"{name} byte {first.start:,} to {until} ({len(pieces)} files)"

    def _blocks(self, pieces: Sequence[Piece]) -> Iterator[bytes]:
        """Yield the lines of pieces that are not whole: a line belongs to the block in which its first byte is."""
        last = b""
        for file, begin, end, _ in pieces:
            for start in range(begin, end, BLOCK_BYTES):
                stop = min(start + BLOCK_BYTES, end)
                block = self._read_lines(Piece(file, start, stop, False)).data
                if block and last:
                    yield last if last.endswith(b"\n") else last + b"\n"
                last = block or last
        if last:
            yield last

    def _read_lines(self, piece: Piece) -> Lines:
        file, start, stop, _ = piece
        table = self._table
        size = table.sizes[file] or 0
        head = min(start, 1)
        with table.open(file) as read:
            past = _PAST
            end = min(stop + past, size)
            data = table.read_range(read, file, start - head, end)
            while (own := own_lines(data, head, stop - start, end == size)) is None:
                past *= 4
                data += table.read_range(read, file, end, min(end + past, size))
                end = min(end + past, size)
        return Lines(data, self._encoding, *own)

    def _read_whole(self, file: int) -> Lines:
        with self._table.open(file) as read:
            data = read(0, None)
        name = self._table.names[file]
        decompress = next(
            (DECOMPRESS[ending] for ending in DECOMPRESS if name.lower().endswith(ending)), None
        )
        if decompress is None:
            return Lines(data, self._encoding)
        try:
            return Lines(decompress(data), self._encoding)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise InputError(f"{name} can't be decompressed: {error}") from error


def open_source(plan: Plan) -> Source:
    """Return the source of a plan that `make_plan` made."""
    source = plan.source
    match source["kind"]:
        case "range":
            return SliceSource(range(source["start"], source["stop"], source["step"]), source["size"])
        case "items":
            items: list[Any] = source["items"]
            may_change = any(isinstance(item, (list, dict)) for item in items)
            return SliceSource(FreshItems.of(items) if may_change else items, source["size"])
        case "files":
            return FilesSource(FileTable.from_json(source["table"]), source["size"])
        case "lines":
            runs = [Run(*run) for run in source["runs"]]
            return LinesSource(FileTable.from_json(source["table"]), runs, source["encoding"])
    raise InputError(f"the plan has an input of kind {source['kind']!r}, which this version does not know")
