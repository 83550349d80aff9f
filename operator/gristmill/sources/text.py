r"""The lines of a chunk, split only when asked for: a function that wants text need not pay for lines.

A line ends with \n or \r\n (a file's last one also with \r or nothing) and with nothing else: `splitlines`
would also cut at form feeds and other separators that are part of people's data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload


class Lines(Sequence[str]):
    """The lines of a chunk, without their line ends. A slice is `Lines` too.

    They are the bytes [start, stop) of `buffer`, which is not copied before somebody wants `data`.
    """

    __slots__ = ("_buffer", "_lines", "_start", "_stop", "_text", "encoding")

    def __init__(
        self, buffer: bytes, encoding: str = "utf-8", start: int = 0, stop: int | None = None
    ) -> None:
        self.encoding = encoding
        self._buffer = buffer
        self._start = start
        self._stop = len(buffer) if stop is None else stop
        self._text: str | None = None
        self._lines: Sequence[str] | None = None

    @property
    def data(self) -> bytes:
        """The lines' bytes as they are in the file, line ends included."""
        return self._buffer[self._start : self._stop]

    @property
    def text(self) -> str:
        """All lines as one text, line ends as they are. UnicodeDecodeError where it is not so encoded."""
        if self._text is None:
            self._text = str(memoryview(self._buffer)[self._start : self._stop], self.encoding)
        return self._text

    def __len__(self) -> int:
        start, stop = self._start, self._stop
        open_end = start < stop and not self._buffer.endswith(b"\n", start, stop)
        return self._buffer.count(b"\n", start, stop) + open_end

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
        lines = self.data.split(b"\n")
        data = b"\n".join(lines[start:stop])
        return Lines(data + b"\n" if start < stop < len(lines) else data, self.encoding)

    def __repr__(self) -> str:
        return f"<Lines: {len(self)} lines, {self._stop - self._start} bytes>"

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
