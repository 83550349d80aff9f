"""A filer as far as schedules need one: entries that name chunks, moves of two steps, and chunks that go with entries.

The real `FilerBackend` runs on it, and stops before each step of each call. It stands for a real filer where the order
of steps counts, which no real one lets a test choose: what it does is what test_filer_moves.py sees a real one do.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from gristmill.volumes.filer.backend import FilerBackend
from gristmill.volumes.filer.calls import Answer, BrokenOff


@dataclass
class _Entry:
    #: ids of chunks and their sizes, in order; the entry keeps them where a chunk is lost
    chunks: dict[str, int]
    modified: float


@dataclass
class ModelFiler:
    """What the filer and its servers have."""

    clock: Callable[[], float]
    entries: dict[str, _Entry] = field(default_factory=dict)
    chunks: dict[str, bytes] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def backend(self, wait: Callable[[], None]) -> FilerBackend:
        """Return a backend that waits before each step."""
        backend = FilerBackend("http://filer", "key", list)
        made: Any = backend
        made._calls = _Calls(self, wait)
        made._pool.value = _InTurn()
        return backend

    def put(self, path: str, chunks: dict[str, int]) -> None:
        """Have an entry; the chunks of what was there go, unless they are its own."""
        former = self.entries.get(path)
        self.entries[path] = _Entry(chunks, self.clock())
        for one in set(former.chunks if former else {}) - set(chunks):
            self.chunks.pop(one, None)

    def chunk(self, data: bytes) -> str:
        """Have a new chunk."""
        name = f"1,{next(self.numbers):x}"
        self.chunks[name] = data
        return name


class _InTurn:
    """In place of threads: steps come one after another."""

    def map(self, call: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        return [call(item) for item in items]


class _Calls:
    """In place of `Calls`."""

    origin = "http://filer"

    def __init__(self, filer: ModelFiler, wait: Callable[[], None]) -> None:
        self._filer = filer
        self._wait = wait
        #: whether a move has read what it moves, and not ended
        self.is_moving = False
        #: the move of which the answer is lost, after its first step (1 is the first); 0: none
        self.breaks = 0
        self._moves = 0

    def renew(self) -> None:
        """See `Calls`."""

    def call(
        self,
        method: str,
        path: str,
        *,
        expected: Sequence[int],
        body: Sequence[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        most_failures: float = 0,
    ) -> Answer:
        """See `Calls`."""
        self._wait()
        parts = urlsplit(path)
        place, query = unquote(parts.path), parse_qs(parts.query, keep_blank_values=True)
        status, data = getattr(self, f"_{method.lower()}")(place, query, b"".join(body or ()), headers or {})
        if status not in expected:
            raise OSError(errno.EIO, f"{method} {place}: {status}")
        return Answer(status, data)

    def _get(self, path: str, query: Any, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if "limit" in query:
            return self._list(path, int(query["limit"][0]), query["lastFileName"][0])
        entry = self._filer.entries.get(path)
        if entry is None:
            return 404, b""
        if "metadata" in query:
            return 200, orjson.dumps(self._told(path, entry))
        if not all(one in self._filer.chunks for one in entry.chunks):
            return 500, b"a chunk is not there"
        data = b"".join(self._filer.chunks[one] for one in entry.chunks)
        if "Range" not in headers:
            return 200, data
        start, _, last = headers["Range"].removeprefix("bytes=").partition("-")
        return 206, data[int(start) : int(last) + 1 if last else None]

    def _list(self, folder: str, limit: int, last: str) -> tuple[int, bytes]:
        found: dict[str, Any] = {}
        for path, entry in sorted(self._filer.entries.items()):
            if path.startswith(f"{folder}/"):
                name, _, below = path.removeprefix(f"{folder}/").partition("/")
                full = f"{folder}/{name}"
                found[name] = {"FullPath": full, "Mode": 1 << 31} if below else self._told(full, entry)
        if not found:
            return 404, b""
        rest = [name for name in sorted(found) if name > last]
        page = rest[:limit]
        more = {"LastFileName": page[-1] if page else "", "ShouldDisplayLoadMore": len(rest) > limit}
        return 200, orjson.dumps({"Entries": [found[name] for name in page], **more})

    def _told(self, path: str, entry: _Entry) -> dict[str, Any]:
        chunks, offset = [], 0
        for one, size in entry.chunks.items():
            chunks.append({"file_id": one, "offset": offset, "size": size})
            offset += size
        modified = datetime.fromtimestamp(entry.modified, UTC).isoformat()
        return {"FullPath": path, "Mode": 0, "FileSize": offset, "Mtime": modified, "chunks": chunks}

    def _put(self, path: str, query: Any, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        former = self._filer.entries[path].chunks if "offset" in query and path in self._filer.entries else {}
        chunks = {**former, self._filer.chunk(body): len(body)}
        self._filer.put(path, chunks)
        return 201, orjson.dumps({"size": sum(chunks.values())})

    def _post(self, path: str, query: Any, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        (source,) = query["mv.from"]
        entry = self._filer.entries.get(source)
        if entry is None:
            return 400, b"no such file"
        self.is_moving = True
        self._moves += 1
        self._wait()
        self._filer.put(path, dict(entry.chunks))
        self._filer.entries[path].modified = entry.modified
        if self._moves == self.breaks:
            self.is_moving = False
            raise BrokenOff(errno.EIO, "the filer does not answer")
        self._wait()
        self._filer.entries.pop(source, None)
        self.is_moving = False
        return 204, b""

    def _delete(self, path: str, query: Any, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        entry = self._filer.entries.pop(path, None)
        if entry is not None and "skipChunkDeletion" not in query:
            for one in entry.chunks:
                self._filer.chunks.pop(one, None)
        return 204, b""
