"""Calls whose connections break, and that reach the filer after their repetitions: they undo nothing."""

from __future__ import annotations

import secrets
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.volumes.seaweed import Seaweed

from gristmill.volumes.filer.backend import FilerBackend
from gristmill.volumes.store import ContentStore


class _Held:
    """A connection that breaks when the first call of a kind was sent, and keeps this for later."""

    def __init__(self, connection: socket.socket, method: bytes, late: list[bytes]) -> None:
        self._connection = connection
        self._method = method
        self._late = late
        self._is_held = False

    def sendall(self, data: bytes) -> None:
        self._is_held = self._is_held or (not self._late and data.startswith(self._method))
        if self._is_held:
            self._late.append(data)
        else:
            self._connection.sendall(data)

    def makefile(self, *words: Any) -> Any:
        if self._is_held:
            raise ConnectionAbortedError
        return self._connection.makefile(*words)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.mark.parametrize("method", [b"PUT", b"POST"])
def test_a_name(seaweed: Seaweed, method: bytes) -> None:
    store = seaweed.store(folder := secrets.token_hex(8))
    late: list[bytes] = []

    def dial(host: str, port: int) -> Any:
        return _Held(socket.create_connection((host, port)), method, late)

    held = FilerBackend(f"{seaweed.url}/{folder}", seaweed.key, lambda: seaweed.addresses, dial)
    ContentStore(held).save("name", b"old")
    assert store.open("name").read() == b"old"
    store.save("name", b"new")
    parts = urlsplit(seaweed.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
        connection.sendall(b"".join(late))
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 ")
    assert store.open("name").read() == b"new"
