"""An object that is written to a filer piece by piece: each piece at its offset, so that one can be sent again.

A filer adds a piece to its entry when it has all of it, and two at once would each leave out the other. It passes on
what it has already. So a piece is sent while the one before is still on its way, all but its end, which waits for that.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from gristmill.volumes.blocks import Bytes

if TYPE_CHECKING:
    from gristmill.volumes.filer.backend import FilerBackend

#: bytes of a piece: two chunks, which the filer passes on to the servers at once
_PIECE_BYTES = 8 << 20
#: pieces that are on their way
_MOST_SENT = 3


class FilerDraft:
    """An object under a name of its own; three pieces are sent while the next is gathered. See `Draft`."""

    def __init__(self, backend: FilerBackend, key: str) -> None:
        self._backend = backend
        self._key = key
        self._piece: list[bytes] = []
        self._held = 0
        self._sent = 0
        self._sender = ThreadPoolExecutor(_MOST_SENT, "draft")
        self._sending: deque[Future[None]] = deque()
        self._is_there = True
        self._pid = os.getpid()

    def write(self, data: Bytes) -> None:
        """See `Draft`."""
        self._piece.append(data if isinstance(data, bytes) else bytes(data))
        self._held += len(data)
        if self._held >= _PIECE_BYTES:
            self._send()

    def publish(self, key: str) -> None:
        """See `Draft`. It is seen to be whole before it replaces what is there, and after it has."""
        if self._held or not self._sent:
            self._send()
        self._wait(0)
        self._sender.shutdown()
        self._backend.confirm(self._key, self._sent)
        self._is_there = (
            False  # (a move that broke off may be done late, and needs it: a collection removes it)
        )
        self._backend.publish(self._key, key)
        self._backend.confirm(key, self._sent)

    def discard(self) -> None:
        """See `Draft`."""
        if not self._is_there or os.getpid() != self._pid:  # (a forked child's copy: the parent goes on)
            return
        self._is_there = False
        self._sender.shutdown(cancel_futures=True)
        with suppress(Exception):
            self._backend.delete(self._key)

    def _send(self) -> None:
        self._wait(_MOST_SENT - 1)
        before = self._sending[-1] if self._sending else None
        piece, size, offset = _Piece(self._piece, before), self._held, self._sent
        self._piece, self._held, self._sent = [], 0, offset + size
        self._sending.append(self._sender.submit(self._backend.write_piece, self._key, offset, piece, size))

    def _wait(self, most: int) -> None:
        """Wait until no more than so many pieces are on their way."""
        while len(self._sending) > most:
            self._sending.popleft().result()


class _Piece:
    """Gives the parts of a piece, the last of them when the piece before is there."""

    def __init__(self, parts: list[bytes], before: Future[None] | None) -> None:
        self._parts = parts
        self._before = before

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts[:-1]
        if self._before is not None and self._before.exception() is not None:
            raise CancelledError  # (its error is told in its turn)
        yield from self._parts[-1:]
