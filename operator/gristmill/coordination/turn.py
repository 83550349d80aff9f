"""Whose turn it is, among threads and what signals interrupt: without a lock that these may leave taken."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class Turn:
    """What one can have at a time. Nobody waits for it."""

    def __init__(self) -> None:
        self._free: SimpleQueue[None] = SimpleQueue()
        self._free.put(None)

    @property
    def is_taken(self) -> bool:
        """Whether somebody has it."""
        return self._free.empty()

    def take(self) -> bool:
        """Have it, if nobody else does; return whether."""
        try:
            self._free.get_nowait()
        except Empty:
            return False
        return True

    def give_back(self) -> None:
        """Let another have it."""
        self._free.put(None)
