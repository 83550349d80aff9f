"""Reading the input of what comes next while the user's function runs on what came before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any


class ReadAhead:
    """Reads one chunk ahead in a thread. `until` bounds it: chunks from there on belong to others."""

    def __init__(self, read: Callable[[int], Sequence[Any]]) -> None:
        self._read = read
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        #: who takes and who hints are two threads
        self._lock = Lock()
        self._coming: dict[int, Future[Sequence[Any]]] = {}
        self.until = 0

    def hint(self, chunk: int) -> None:
        """Begin to read a chunk that will be wanted soon."""
        with self._lock:
            if chunk not in self._coming and len(self._coming) < 2:
                self._coming[chunk] = self._pool.submit(self._read, chunk)

    def take(self, chunk: int) -> Sequence[Any]:
        """Return the items of a chunk, and begin to read the next."""
        with self._lock:
            coming = self._coming.pop(chunk, None)
            for stale in [c for c in self._coming if c < chunk]:
                del self._coming[stale]
        items = coming.result() if coming is not None else self._read(chunk)
        if chunk + 1 < self.until:
            self.hint(chunk + 1)
        return items
