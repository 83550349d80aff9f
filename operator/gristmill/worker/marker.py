"""Where a child is, written by it and read by its supervisor without a word between them.

Shared memory, because a child that holds the interpreter's lock for an hour, or was killed, can't answer.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: what the supervisor may ask for
GO_ON, GIVE_TAIL, STOP = 0, 1, 2

_CHUNK, _ITEM, _ITEMS, _SINCE, _EXACT, _WISH = range(6)


class Marker:
    """Six numbers in shared memory, inherited over fork."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._cells = memoryview(self._memory).cast("q")
        self.idle()

    def idle(self) -> None:
        """Nothing runs."""
        self._cells[_CHUNK] = -1

    def at(self, chunk: int, exact: bool) -> None:
        """Work on `chunk` begins; not `exact`: on it and some that follow, which are too fast to be announced."""
        cells = self._cells
        cells[_ITEM] = -1
        cells[_ITEMS] = 0
        cells[_SINCE] = time.monotonic_ns()
        cells[_EXACT] = exact
        cells[_CHUNK] = chunk

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Wait inside for what is not the chunk's fault: its time begins anew after that."""
        chunk, exact, item, items = self.chunk, self.exact, self.item, self.items
        self.idle()
        yield
        if chunk >= 0:
            self.at(chunk, exact)
            self.has_items(items)
            self.at_item(item)

    def has_items(self, count: int) -> None:
        """The chunk turned out to have so many items."""
        self._cells[_ITEMS] = count

    def at_item(self, item: int) -> None:
        """Work on an item of the chunk begins."""
        self._cells[_ITEM] = item

    @property
    def chunk(self) -> int:
        """The chunk that runs, or -1."""
        return self._cells[_CHUNK]

    @property
    def item(self) -> int:
        """The item that runs, or -1 where items are not announced."""
        return self._cells[_ITEM]

    @property
    def items(self) -> int:
        """The number of items of the chunk, 0 while it is not known."""
        return self._cells[_ITEMS]

    @property
    def exact(self) -> bool:
        """Whether it is this chunk that runs, not one of those that follow."""
        return bool(self._cells[_EXACT])

    @property
    def running_seconds(self) -> float:
        """How long the chunk has been running; 0 when nothing runs."""
        if self.chunk < 0:
            return 0.0
        return (time.monotonic_ns() - self._cells[_SINCE]) / 1e9

    @property
    def wish(self) -> int:
        """GO_ON, GIVE_TAIL or STOP: looked at by the child between two slices."""
        return self._cells[_WISH]

    @wish.setter
    def wish(self, value: int) -> None:
        self._cells[_WISH] = value
