"""What is to be looked at: each key once, whatever happened to it how often, and later again where that failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

log = logging.getLogger(__name__)

#: seconds until a key that failed is tried again: the first time, and at the most
_BACKOFF = (0.2, 30.0)


class WorkQueue(Generic[Key]):
    """Calls `handle` for keys, each by one worker at a time; what comes meanwhile is handled once more."""

    def __init__(self, handle: Callable[[Key], Awaitable[float | None]]) -> None:
        self._handle = handle
        self._waiting: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._queued)

    def add(self, key: Key) -> None:
        """Have a key looked at."""
        if key in self._running:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._waiting.put_nowait(key)

    def add_later(self, key: Key, seconds: float) -> None:
        """Have a key looked at in so many seconds, or sooner if that was wanted already."""
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        if (timer := self._timers.get(key)) is not None:
            if timer.when() <= when:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(when, self._ring, key)

    async def work(self) -> None:
        """Handle keys for ever; `handle` returns in how many seconds it wants to see the key again, or None."""
        while True:
            key = await self._waiting.get()
            self._queued.discard(key)
            self._running.add(key)
            try:
                again = await self._handle(key)
                self._failures.pop(key, None)
                if again is not None:
                    self.add_later(key, again)
            except Exception:
                count = self._failures[key] = self._failures.get(key, 0) + 1
                pause = min(_BACKOFF[0] * 2 ** (count - 1), _BACKOFF[1])
                log.exception("%s failed; again in %.1f s", key, pause)
                self.add_later(key, pause)
            finally:
                self._running.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    def _ring(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)
