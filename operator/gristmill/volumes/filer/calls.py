"""Calls to one HTTP server of a SeaweedFS, with a token each, made again while the server is away.

Only what can be repeated is called by this: reading, having a whole object at a key, removing, moving. A call that is
answered by an error of the server (5xx) is made again, too: servers that have just lost one of them answer so.
"""

from __future__ import annotations

import errno
import math
import random
import re
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

import orjson

from gristmill.volumes.filer.tokens import Tokens
from gristmill.volumes.forks import PerProcess

#: returns a socket that is connected to a host's port
Dial = Callable[[str, int], Any]

#: seconds that a call is made again while the server is away
PATIENCE_SECONDS = 60.0
#: seconds that it is made again while the servers say that they are full: they do so, too, when one of them is lost
FULL_SECONDS = 20.0
#: seconds that a connection may take, and an answer: longer than SeaweedFS waits for a server that it misses
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 75.0
#: seconds that a connection is kept for another call: SeaweedFS closes it after 30
_IDLE_SECONDS = 20.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0

#: what a filer says of its own store
_OF_FILER = "persisting "
_FULL = re.compile(rb"no free volumes|no more free space|no writable volumes|no space left", re.IGNORECASE)
#: said, with any status, to all calls of a connection of which one took too long
_BROKEN = re.compile(rb"context canceled|context deadline exceeded")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes

    def told(self) -> Any:
        """Return the JSON of the body."""
        return orjson.loads(self.body)


class BrokenOff(OSError):  # noqa: N818
    """Nobody knows whether a call was done, or will be: it may be tried again."""


class Patience:
    """Waits between two tries of something, longer and longer, and not for ever."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._pause = _FIRST_PAUSE

    def wait(self, limit: float, error: OSError) -> None:
        """Wait; raise the error where it would then have taken more than so many seconds."""
        if time.monotonic() + self._pause - self._begin > limit:
            raise error
        time.sleep(self._pause * random.uniform(0.5, 1))
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)


class Calls:
    """Makes calls to one server; threads may call at once."""

    def __init__(
        self, origin: str, key: str, dial: Dial | None = None, patience: float = PATIENCE_SECONDS
    ) -> None:
        self.origin = origin
        self._tokens = Tokens(key)
        self._dial = dial or _connected
        self._patience = patience
        #: connections that wait for a call, and since when
        self._idle: PerProcess[deque[tuple[float, HTTPConnection]]] = PerProcess(deque)
        weakref.finalize(self, _close, self._idle)

    def call(
        self,
        method: str,
        path: str,
        *,
        expected: Sequence[int],
        body: Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        fid: str = "",
        most_failures: float = math.inf,
    ) -> Answer:
        """Call the server, again until it answers with a status that is expected. OSError when it does not.

        `path` is quoted, with its query. `fid` names the chunk that a volume server is asked for. BrokenOff after
        `most_failures` answers that fail (5xx), or break off.
        """
        patience, failures = Patience(), 0
        is_refused = False
        while True:
            code, limit = errno.EIO, self._patience
            connection = None
            try:
                connection = self._take()
                status, told, data = self._exchange(connection, method, path, body, fid, headers or {})
            except (HTTPException, OSError) as error:
                problem = f"{self.origin} does not answer: {getattr(error, 'strerror', None) or error}"
                if connection is None:
                    code = errno.EHOSTUNREACH
                else:
                    failures += 1
            else:
                is_broken = status >= 400 and _BROKEN.search(data)
                if status in expected and not is_broken:
                    return Answer(status, data)
                problem = f"{self.origin} answers {status}: {_words(data)}"
                if status == 401 and not is_refused:
                    is_refused = True
                    self._tokens.learn(told.get("Date"))
                    continue
                if status == 401:
                    code, limit = errno.EACCES, 0.0
                    problem = f"{self.origin} does not take the key: it is not that of this volume (any more)"
                elif _FULL.search(data):
                    code, limit = errno.ENOSPC, min(limit, FULL_SECONDS)
                    problem = _full(_words(data))
                elif status < 499 and not is_broken:
                    limit = 0.0
                failures += 1
                self.renew()
            if limit and failures >= most_failures:
                raise BrokenOff(code, problem)
            patience.wait(limit, OSError(code, problem))

    def stream(self, path: str, headers: Mapping[str, str], size: int, unit: int) -> Iterator[bytes]:
        """Yield `size` bytes that the server is asked for by a range, a unit at a time; nothing more where that fails.

        Nothing is asked again: whoever wants the rest asks for that.
        """
        connection, left = None, size
        try:
            connection = self._take()
            connection.request("GET", path, headers={**self._signed(), **headers})
            answer = connection.getresponse()
            if answer.status != 206:
                return
            while left and len(data := answer.read(min(unit, left))) == min(unit, left):
                left -= len(data)
                yield data
        except (HTTPException, OSError):
            return
        finally:
            if connection is not None:
                if left:
                    connection.close()
                else:
                    self._idle.value.append((time.monotonic(), connection))

    def renew(self) -> None:
        """Use none of the connections any more that there are: one that a server gave up once stays so."""
        _close(self._idle)

    def _take(self) -> HTTPConnection:
        """Return a connection: one that has not waited for long, or a new one."""
        with suppress(IndexError):
            while True:
                since, connection = self._idle.value.pop()
                if time.monotonic() - since < _IDLE_SECONDS:
                    return connection
                connection.close()
        parts = urlsplit(self.origin)
        host, port = parts.hostname or "", parts.port or 80
        connection = HTTPConnection(host, port)
        connection.sock = self._dial(host, port)
        connection.sock.settimeout(_ANSWER_SECONDS)
        return connection

    def _signed(self, fid: str = "") -> dict[str, str]:
        return {"Authorization": f"BEARER {self._tokens.token(fid)}"}

    def _exchange(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: Iterable[bytes] | None,
        fid: str,
        headers: Mapping[str, str],
    ) -> tuple[int, Message, bytes]:
        """Return what the server says: status, headers, body."""
        headers = {**self._signed(fid), **headers}
        try:
            # (one that refuses a call does not read it to its end)
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, headers)
            with connection.getresponse() as answer:
                data = answer.read()
        except BaseException:
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            self._idle.value.append((time.monotonic(), connection))
        return answer.status, answer.headers, data


def _close(idle: PerProcess[deque[tuple[float, HTTPConnection]]]) -> None:
    with suppress(IndexError):
        while True:
            idle.value.pop()[1].close()


def _connected(host: str, port: int) -> socket.socket:
    connection = socket.create_connection((host, port), _CONNECT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _full(words: str) -> str:
    """Return what to do about a full disk."""
    if _OF_FILER in words:
        return (
            f"No space left on the disk of its filer, which has the names (it says: {words}): give that more room "
            "(filer.size of a FileVolume) and start it again; until then it takes no change, a removal neither"
        )
    return (
        f"No space left on its servers (they say: {words}): remove files and collect, or give it more storage"
    )


def _words(body: bytes) -> str:
    """Return what a server says of an error."""
    try:
        return str(orjson.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace").strip()[:200] or "nothing more"
