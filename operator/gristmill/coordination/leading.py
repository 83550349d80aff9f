"""What `sync.Election.run` is made of: the time for which it leads, and the thread that looks at its lock meanwhile."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Self

from gristmill.coordination.errors import NotHeld
from gristmill.coordination.turn import Turn

if TYPE_CHECKING:
    from gristmill.coordination.sync import Lock

log = logging.getLogger(__name__)

#: seconds between two looks at whether a lock that was lost while its process stood still is lost
_LOOK_SECONDS = 0.1


class Watcher:
    """Looks at a lock by which is led, until it is `over`; calls `on_lost` where it is lost before."""

    def __init__(self, lock: Lock, on_lost: Callable[[], None] | None) -> None:
        self.over: SimpleQueue[None] = SimpleQueue()
        self._lock = lock
        self._on_lost = on_lost
        self._process = os.getpid()
        self._has_ended: SimpleQueue[None] = SimpleQueue()
        #: who has it does its part: the thread, or who ends it before it has begun
        self._turn = Turn()

    def run(self) -> None:
        """Look, in a thread."""
        if self._turn.take():
            try:
                self._look()
            except Exception:
                log.exception("what was to end the work of a leader of %s failed", self._lock.name)
            finally:
                self._has_ended.put(None)

    def end(self) -> None:
        """Look no more; wait until what has begun has ended (a process that was forked has no such thread)."""
        self.over.put(None)
        if not self._turn.take() and self._process == os.getpid():
            self._has_ended.get()

    def _look(self) -> None:
        while self._lock.held:
            with suppress(Empty):
                self.over.get(timeout=_LOOK_SECONDS)
                return
        if self._on_lost is not None and self.over.empty():
            self._on_lost()


class Lead:
    """The time for which a lock is led by: it ends when that is left, wherever it is interrupted."""

    def __init__(self, lock: Lock, over: SimpleQueue[None]) -> None:
        self._lock = lock
        self._over = over  # (an Event has a lock, which what interrupts it may leave as it should not be)
        self._is_mine = True

    def begin(self) -> None:
        """Wait for the turn. NotHeld where somebody else leads by this lock: what they have is not given up."""
        try:
            self._lock.acquire()
        except NotHeld:
            self._is_mine = False
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._over.put(None)  # (or giving up were taken for a loss)
        finally:
            if self._is_mine:
                self._lock.__exit__(kind)
