"""What user code prints, kept with the chunk that printed it.

A child's descriptors 1 and 2 go to a pipe that the supervisor reads. Python's own streams say which chunk each line is
of; what a library in C writes is put down to the chunk that the marker shows.
"""

from __future__ import annotations

import io
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from gristmill import settings
from gristmill.worker.failures import own_frames

_TAGGED = re.compile(rb"\x1e(stdout|stderr),(-?\d+)\x1f")
_LINE_END = re.compile(rb"\r?\n|\r")
#: bytes without a line end that are kept together
_LONGEST = 1 << 16
#: bytes that are read at a time, so that a child that prints fast does not keep its supervisor
_READ = 1 << 20
#: characters of the output of no chunk that explain a crash, and bytes that are kept to find them
_TAIL, _KEPT = 4096, 1 << 14


class TaggedOutput(io.RawIOBase):
    """What is behind sys.stdout or sys.stderr in a child: writes whole lines, each with its stream and chunk."""

    def __init__(self, name: str, descriptor: int, current: Callable[[], int]) -> None:
        self.name = name
        self._descriptor = descriptor
        self._current = current
        self._rest = b""

    def text(self) -> io.TextIOWrapper:
        """Return the text stream over it."""
        return io.TextIOWrapper(self, encoding="utf-8", errors="replace", write_through=True)

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor, for programs that write to it themselves."""
        return self._descriptor

    def write(self, data: Any) -> int:
        """Write the lines that are complete (a progress bar ends its own with a return); keep a bounded rest."""
        *lines, self._rest = _LINE_END.split(self._rest + bytes(data))
        self._send(lines)
        if len(self._rest) > _LONGEST:
            self.flush_rest()
        return len(data)

    def flush_rest(self) -> None:
        """Write what has no line end yet."""
        if self._rest:
            rest, self._rest = self._rest, b""
            self._send([rest])

    def _send(self, lines: list[bytes]) -> None:
        head = b"\x1e%s,%d\x1f" % (self.name.encode(), self._current())
        view = memoryview(b"".join([head + line + b"\n" for line in lines]))
        while view:
            view = view[os.write(self._descriptor, view) :]


class Captured:
    """The supervisor's end of the pipe: bytes in, records out."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        #: whether the child has closed its end
        self.ended = False
        os.set_blocking(descriptor, False)
        self._rest = b""
        self._tail = b""

    def fileno(self) -> int:
        """Return the descriptor, so that a selector can wait for it."""
        return self.descriptor

    def read(self, chunk: int) -> Iterator[dict[str, Any]]:
        """Yield a record for each line that has arrived; `chunk` is what untagged lines are put down to."""
        left = _READ
        while left > 0:
            try:
                data = os.read(self.descriptor, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                self.ended = True
                return
            left -= len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                yield self._record(line, chunk)
            if len(self._rest) > _LONGEST:
                yield self._record(self._rest, chunk)
                self._rest = b""

    def tail(self) -> str:
        """Return the end of the output of no chunk: what a crash printed, or code while it was loaded."""
        return own_frames((self._tail + self._rest).decode("utf-8", "replace"))[-_TAIL:]

    def forget_tail(self) -> None:
        """Begin the tail anew: what was printed while the code was loaded explains no later crash."""
        self._tail = b""

    def close(self) -> None:
        """Close the pipe."""
        os.close(self.descriptor)

    def _record(self, line: bytes, chunk: int) -> dict[str, Any]:
        stream = "raw"
        if tagged := _TAGGED.match(line):
            stream, chunk = tagged[1].decode(), int(tagged[2])
            line = line[tagged.end() :]
        if not tagged or chunk < 0:
            self._tail = (self._tail + line + b"\n")[-_KEPT:]
        return {
            "time": time.time(),
            "chunk": chunk,
            "stream": stream,
            "text": line.decode("utf-8", "replace"),
        }


class Log:
    """JSON lines in a file; beyond `size` bytes a last line says that the rest was dropped."""

    def __init__(self, file: BinaryIO, size: float = math.inf) -> None:
        self._file = file
        self._size = self._left = size

    @classmethod
    def in_folder(cls, folder: Path, worker: str) -> Log:
        """Return the log of a worker in a folder, of bounded size."""
        return cls((folder / f"{worker}.jsonl").open("ab"), settings.LOG_BYTES)

    def write(self, record: dict[str, Any]) -> None:
        """Add a record, while there is room."""
        if self._left <= 0:
            return
        line = orjson.dumps(record) + b"\n"
        self._left -= len(line)
        if self._left <= 0:
            line = (
                orjson.dumps(
                    {**record, "stream": "log", "text": f"more than {self._size:.0f} bytes: dropped"}
                )
                + b"\n"
            )
        try:
            self._file.write(line)
            self._file.flush()
        except OSError:
            self._left = 0

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # (`write` has given up what the disk has no room for)
            self._file.close()
