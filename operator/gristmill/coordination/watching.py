"""One watcher of a configuration tree: what it hears, in order, and without end of memory where it does not listen."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from enum import StrEnum

from gristmill.coordination.names import is_below, parent_of
from gristmill.coordination.nodes import Event, EventKind, Node, Resync

#: events that may wait for a watcher; of more it hears as of a gap
MOST_WAITING = 10_000


class Depth(StrEnum):
    """What of a tree a watcher is told of."""

    NODE = "node"
    CHILDREN = "children"
    SUBTREE = "subtree"


class Watch:
    """An asynchronous iterator of events, until it is closed. `current` returns the tree's nodes, and their version."""

    def __init__(
        self,
        path: str,
        depth: Depth,
        current: Callable[[], tuple[Iterable[Node], int]],
        *,
        initial: bool,
        stop: Callable[[Watch], None],
    ) -> None:
        self.path = path
        self.depth = depth
        self._current = current
        self._stop = stop
        self._waiting: deque[Event | Resync] = deque()
        self._news = asyncio.Event()
        self._closed = False
        if initial:
            self._add(Event(EventKind.CREATED, node) for node in self._mine())

    def hear(self, event: Event | Resync) -> None:
        """Be told of an event of the tree."""
        if isinstance(event, Resync) or self._concerns(event.path):
            self._add([event])

    def close(self) -> None:
        """Hear no more; what waits is still there to be read."""
        if not self._closed:
            self._closed = True
            self._stop(self)
            self._news.set()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Event | Resync:
        """Return the next event."""
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()

    def _add(self, events: Iterable[Event | Resync]) -> None:
        self._waiting.extend(events)
        if len(self._waiting) > MOST_WAITING:
            nodes, version = self._current()
            self._waiting.clear()
            self._waiting.append(Resync(version))
            self._waiting.extend(
                Event(EventKind.CHANGED, node) for node in nodes if self._concerns(node.path)
            )
        self._news.set()

    def _mine(self) -> list[Node]:
        nodes, _ = self._current()
        return sorted((node for node in nodes if self._concerns(node.path)), key=lambda node: node.version)

    def _concerns(self, path: str) -> bool:
        if self.depth is Depth.NODE:
            return path == self.path
        if self.depth is Depth.CHILDREN:
            return parent_of(path) == self.path
        return is_below(path, self.path)
