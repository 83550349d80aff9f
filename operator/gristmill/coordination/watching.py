"""One watcher of a configuration tree: what it hears, in order, and without end of memory where it does not listen."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from typing import Never, Self

from gristmill.coordination.names import is_below, parent_of
from gristmill.coordination.nodes import Event, EventKind, Node, Resync
from gristmill.coordination.saying import say
from gristmill.coordination.tasks import called

log = logging.getLogger(__name__)

#: is called with what a watch tells
Callback = Callable[[Event | Resync], Awaitable[None] | None]
#: events that may wait for a watcher; of more it hears as of a gap
MOST_WAITING = 10_000


class Depth(StrEnum):
    """What of a tree a watcher is told of."""

    NODE = "node"
    CHILDREN = "children"
    SUBTREE = "subtree"

    @classmethod
    def _missing_(cls, value: object) -> Never:
        raise ValueError(f"depth: {value!r} is none: give 'node', 'children' or 'subtree'")


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
        #: how many may wait: what there is when one begins, or after a gap, does not count
        self._most = MOST_WAITING
        self._news = asyncio.Event()
        self._closed = False
        self._telling: asyncio.Task[None] | None = None
        if initial:
            nodes = sorted(current()[0], key=lambda node: node.version)
            self._waiting.extend(Event(EventKind.CREATED, one) for one in nodes if self._concerns(one.path))
            self._most += len(self._waiting)

    def hear(self, event: Event | Resync) -> None:
        """Be told of an event of the tree."""
        if isinstance(event, Resync) or self._concerns(event.path):
            self._waiting.append(event)
            if len(self._waiting) > self._most:
                self._begin_again()
            self._news.set()

    def put_back(self, event: Event | Resync) -> None:
        """Have an event that was returned, and that nobody got, be the next one again."""
        self._waiting.appendleft(event)
        self._news.set()

    def close(self) -> None:
        """Hear no more; what waits is still there to be read."""
        if not self._closed:
            self._closed = True
            self._stop(self)
            self._news.set()

    def tell(self, callback: Callback) -> None:
        """Have a task call a callback with each event."""
        self._telling = asyncio.create_task(self._tell(callback), name=f"watch of {self.path}")

    async def _tell(self, callback: Callback) -> None:
        async for event in self:
            try:
                await called(callback, event)
            except (Exception, asyncio.CancelledError) as error:
                if self._telling is None or self._telling.cancelling():
                    raise
                words = "the callback of a watch of %s failed; it is called on"
                say(log, logging.ERROR, words, self.path, error=error)
            await asyncio.sleep(0)  # (other tasks have their turn, however many events wait)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

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

    def _begin_again(self) -> None:
        """Tell of a gap, and of each node what came of all that waits."""
        first: dict[str, Event] = {}
        last: dict[str, Event] = {}
        for one in self._waiting:
            if isinstance(one, Event):
                first.setdefault(one.path, one)
                last.pop(one.path, None)
                last[one.path] = one
        self._waiting.clear()
        self._waiting.append(Resync(self._current()[1]))
        for path, event in last.items():
            if (kind := _kind_of_all(first[path].kind, event.kind)) is not None:
                self._waiting.append(Event(kind, event.node))
        self._most = MOST_WAITING + len(self._waiting)

    def _concerns(self, path: str) -> bool:
        if self.depth is Depth.NODE:
            return path == self.path
        if self.depth is Depth.CHILDREN:
            return parent_of(path) == self.path
        return is_below(path, self.path)


def _kind_of_all(first: EventKind, last: EventKind) -> EventKind | None:
    """Return what happened to a node from its first event to its last, or None: it came and went."""
    if first is EventKind.CREATED:
        return None if last is EventKind.DELETED else EventKind.CREATED
    return EventKind.DELETED if last is EventKind.DELETED else EventKind.CHANGED
