"""An object that is written to a filer piece by piece: each piece at its offset, so that one can be sent again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from gristmill.volumes.blocks import Bytes

if TYPE_CHECKING:
    from gristmill.volumes.filer.backend import FilerBackend

#: bytes of a piece: two chunks, which the filer passes on to the servers at once
_PIECE_BYTES = 8 << 20


class FilerDraft:
    """An object under a name of its own; one piece is sent while the next is gathered. See `Draft`."""

    def __init__(self, backend: FilerBackend, key: str) -> None:
        self._backend = backend
        self._key = key
        self._piece: list[bytes] = []
        self._held = 0
        self._sent = 0
        self._sender = ThreadPoolExecutor(1, "draft")
        self._sending: Future[None] | None = None
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
        self._wait()
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
        self._wait()
        piece, size, offset = self._piece, self._held, self._sent
        self._piece, self._held, self._sent = [], 0, offset + size
        self._sending = self._sender.submit(self._send_piece, offset, piece, size)

    def _send_piece(self, offset: int, piece: Sequence[bytes], size: int) -> None:
        self._backend.write_piece(self._key, offset, piece, size)

    def _wait(self) -> None:
        """Wait for the piece that is being sent: two at once would write the same entry of the filer."""
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.result()
