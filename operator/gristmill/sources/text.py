r"""The lines of a chunk, split only when asked for: a function that wants text need not pay for lines.

A line ends with \n or \r\n (a file's last one also with \r or nothing) and with nothing else: `splitlines`
would also cut at form feeds and other separators that are part of people's data.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, overload

from gristmill.errors import InputError

#: bytes of a block: large enough to cost nothing, small enough to stay in the processor's cache
BLOCK_BYTES: Final = 1 << 20


class Lines(Sequence[str]):
    """The lines of a chunk, without their line ends. A slice is `Lines` too.

    They are the bytes [start, stop) of `buffer`, which is not copied before somebody wants `data`.
    """

    __slots__ = ("_content", "_lines", "_text", "encoding")

    def __init__(
        self, buffer: bytes, encoding: str = "utf-8", start: int = 0, stop: int | None = None
    ) -> None:
        self.encoding = encoding
        self._content: tuple[bytes, int, int] | None = (buffer, start, len(buffer) if stop is None else stop)
        self._text: str | None = None
        self._lines: Sequence[str] | None = None

    @property
    def data(self) -> bytes:
        """The lines' bytes as they are in the file, line ends included."""
        buffer, start, stop = self._read()
        return buffer[start:stop]

    @property
    def text(self) -> str:
        """All lines as one text, line ends as they are. UnicodeDecodeError where it is not so encoded."""
        if self._text is None:
            buffer, start, stop = self._read()
            self._text = str(memoryview(buffer)[start:stop], self.encoding)
        return self._text

    def blocks(self) -> Iterator[bytes]:
        """Yield `data` in blocks of whole lines, about a megabyte each: a large chunk is never in memory as a whole."""
        buffer, position, stop = self._read()
        while position < stop:
            cut = buffer.find(b"\n", position + BLOCK_BYTES, stop) + 1 or stop
            yield buffer[position:cut]
            position = cut

    def __len__(self) -> int:
        buffer, start, stop = self._read()
        open_end = start < stop and not buffer.endswith(b"\n", start, stop)
        return buffer.count(b"\n", start, stop) + open_end

    def __iter__(self) -> Iterator[str]:
        return iter(self._split())

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if not isinstance(index, slice):
            return self._split()[index]
        start, stop, step = index.indices(len(self))
        if step != 1:
            return self._split()[index]
        return self._part(start, stop)

    def __repr__(self) -> str:
        return f"<Lines: {len(self)} lines, {len(self.data)} bytes>"

    def _part(self, start: int, stop: int) -> Lines:
        lines = self.data.split(b"\n")
        data = b"\n".join(lines[start:stop])
        return Lines(data + b"\n" if start < stop < len(lines) else data, self.encoding)

    def _read(self) -> tuple[bytes, int, int]:
        """Return the bytes, and where in them the lines begin and end."""
        assert self._content is not None
        return self._content

    def _split(self) -> Sequence[str]:
        if self._lines is None:
            try:
                text = self.text
            except UnicodeDecodeError:
                self._lines = _Undecoded(self.data, self.encoding)
                return self._lines
            lines = (text.replace("\r\n", "\n") if "\r" in text else text).split("\n")
            last = lines.pop().removesuffix("\r")
            if last or text.endswith("\r"):
                lines.append(last)
            self._lines = lines
        return self._lines


class LargeLines(Lines):
    """The lines of a chunk that is read when it is asked for: whole, or by `blocks` and line by line in pieces.

    A slice of them is read in pieces too, each time that it is asked for. What can't be read raises InputError in the
    user's code; `failure` keeps it, whatever that makes of it.
    """

    __slots__ = ("_count", "_pieces", "failure")

    def __init__(self, pieces: Callable[[], Iterator[bytes]], encoding: str) -> None:
        super().__init__(b"", encoding)
        self._content = None
        self._pieces = pieces
        #: the number of lines, since somebody has counted them, or had them all one by one
        self._count: int | None = None
        self.failure: InputError | None = None

    def blocks(self) -> Iterator[bytes]:
        """See `Lines`."""
        try:
            yield from self._pieces()
        except InputError as error:
            self.failure = error
            raise

    def __len__(self) -> int:
        if self._count is None:
            self._count = sum(len(Lines(block)) for block in self.blocks())
        return self._count

    def __iter__(self) -> Iterator[str]:
        return self._one_by_one() if self._content is None else super().__iter__()

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if self._content is not None or not isinstance(index, slice):
            return super().__getitem__(index)
        bounded = (index.start or 0) >= 0 and (index.stop or 0) >= 0
        start, stop, step = index.indices(sys.maxsize if bounded else len(self))
        if step != 1:
            return super().__getitem__(index)
        return LargeLines(lambda: self._between(start, stop), self.encoding)

    def __repr__(self) -> str:
        return "<LargeLines>"

    def _one_by_one(self) -> Iterator[str]:
        count = 0
        for block in self.blocks():
            lines = Lines(block, self.encoding)._split()
            count += len(lines)
            yield from lines
        self._count = count

    def _between(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the lines [start, stop) in blocks; what follows them is not read."""
        first = 0
        for block in self.blocks():
            lines = Lines(block)
            last = first + len(lines)
            if own := lines._part(max(0, start - first), max(0, stop - first)).data:
                yield own
            if last >= stop:
                return
            first = last

    def _read(self) -> tuple[bytes, int, int]:
        if self._content is None:
            data = b"".join(self.blocks())
            self._content = (data, 0, len(data))
        return self._content


def reading_failure(items: Sequence[Any]) -> InputError | None:
    """Return what went wrong when items were read while the user's code ran."""
    return items.failure if isinstance(items, LargeLines) else None


class _Undecoded(Sequence[str]):
    """Lines of which some can't be decoded: each is when it is asked for, so that only a bad one raises."""

    def __init__(self, data: bytes, encoding: str) -> None:
        self._encoding = encoding
        self._lines = [line.removesuffix(b"\r") for line in data.split(b"\n")]
        if data.endswith(b"\n"):
            self._lines.pop()

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [line.decode(self._encoding) for line in self._lines[index]]
        return self._lines[index].decode(self._encoding)
