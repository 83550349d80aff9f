"""Messages between supervisor and child: length-prefixed msgpack over a socket pair.

The supervisor never waits for the rest of a message: a child that is frozen in the middle of
one must not stop heartbeats.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any

import msgpack

_LENGTH = struct.Struct("<I")
_READ = 1 << 20
#: bytes that one `drain` takes at the most, so that a child that writes fast does not keep its supervisor
_DRAIN = 32 << 20


class Channel:
    """One end of the socket pair."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray()

    def fileno(self) -> int:
        """Return the descriptor, so that a selector can wait for it."""
        return self.sock.fileno()

    def send(self, *message: Any) -> None:
        """Send a message; waits while the other end's buffer is full. OSError when the other end is gone."""
        self.send_all(message)

    def send_all(self, *messages: tuple[Any, ...]) -> None:
        """Send some messages at once."""
        packed = [msgpack.packb(message) for message in messages]
        self.sock.sendall(b"".join([part for data in packed for part in (_LENGTH.pack(len(data)), data)]))

    def receive(self) -> list[Any] | None:
        """Wait for a message; None when the other end is gone."""
        head = self._exactly(_LENGTH.size)
        if head is None:
            return None
        data = self._exactly(_LENGTH.unpack(head)[0])
        return None if data is None else msgpack.unpackb(data, strict_map_key=False)

    def drain(self) -> Iterator[list[Any]]:
        """Yield the messages that have arrived whole, without waiting. ConnectionError when the other end is gone."""
        gone = False
        most = len(self._buffer) + _DRAIN
        while len(self._buffer) < most:
            try:
                data = self.sock.recv(_READ, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except ConnectionError:
                data = b""
            if not data:
                gone = True
                break
            self._buffer += data
        position = 0
        while len(self._buffer) - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, position)
            end = position + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            yield msgpack.unpackb(
                memoryview(self._buffer)[position + _LENGTH.size : end], strict_map_key=False
            )
            position = end
        del self._buffer[:position]
        if gone:
            raise ConnectionError("the other process is gone")

    def close(self) -> None:
        """Close this end."""
        self.sock.close()

    def _exactly(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            try:
                data = self.sock.recv(_READ)
            except ConnectionError:
                return None
            if not data:
                return None
            self._buffer += data
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data
