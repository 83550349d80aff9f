"""Calls to one HTTP server of a SeaweedFS, with a token each, made again while the server is away.

Only what can be repeated is called by this: reading, having a whole object at a key, removing, moving. A call that is
answered by an error of the server (5xx) is made again, too: servers that have just lost one of them answer so.
"""

from __future__ import annotations

import errno
import math
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from gristmill.volumes.errors import StorageFailed
from gristmill.volumes.filer_tokens import Tokens

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPConnectionPool

#: returns a socket that is connected to a host's port
Dial = Callable[[str, int], Any]

#: seconds that a call is made again while the server is away
PATIENCE_SECONDS = 60.0
#: seconds that it is made again while the servers say that they are full: they do so, too, when one of them is lost
FULL_SECONDS = 20.0
#: seconds that a connection may take, and an answer: longer than SeaweedFS waits for a server that it misses
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 75.0
#: connections that are kept
_MOST_IDLE = 32
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0

_FULL = re.compile(rb"no free volumes|no more free space|no writable volumes|no space left", re.IGNORECASE)
#: said, with any status, to all calls of a connection of which one took too long
_BROKEN = re.compile(rb"context canceled|context deadline exceeded")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said; `tries` counts the calls that it took."""

    status: int
    headers: Any
    body: bytes
    tries: int

    def told(self) -> Any:
        """Return the JSON of the body."""
        return orjson.loads(self.body)


class Calls:
    """Makes calls to one server."""

    def __init__(
        self, origin: str, key: str, dial: Dial | None = None, patience: float = PATIENCE_SECONDS
    ) -> None:
        self.origin = origin
        self._tokens = Tokens(key)
        self._dial = dial
        self._pool = _pool(origin, dial)
        self._patience = patience

    def call(
        self,
        method: str,
        path: str,
        *,
        expected: Sequence[int],
        body: Sequence[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        fid: str = "",
        most_failures: float = math.inf,
    ) -> Answer:
        """Call the server, again until it answers with a status that is expected. OSError when it does not.

        `path` is quoted, with its query. `fid` names the chunk that a volume server is asked for. `most_failures` are
        answers that fail (5xx), or break off; the error is EIO after these.
        """
        from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

        begin, pause, tries, failures = time.monotonic(), _FIRST_PAUSE, 0, 0
        is_refused = False
        while True:
            tries += 1
            code, limit = errno.EIO, self._patience
            try:
                answer = self._once(method, path, body, fid, headers or {})
            except (HTTPError, OSError) as error:
                code, problem = errno.EHOSTUNREACH, f"{self.origin} does not answer: {_words_of(error)}"
                if isinstance(error, ProtocolError):
                    code, failures = errno.EIO, failures + 1
                if isinstance(error, ReadTimeoutError) and body is not None:
                    limit = 0.0  # (it may still be at it, and would overtake a second call)
            else:
                is_broken = answer.status >= 400 and _BROKEN.search(answer.data)
                if answer.status in expected and not is_broken:
                    return Answer(answer.status, answer.headers, answer.data, tries)
                problem = f"{self.origin} answers {answer.status}: {_words(answer.data)}"
                if answer.status == 401 and not is_refused:
                    is_refused = True
                    self._tokens.learn(answer.headers.get("Date"))
                    continue
                if answer.status == 401:
                    code, limit = errno.EACCES, 0.0
                    problem = f"{self.origin} does not take the key: it is not that of this volume (any more)"
                elif _FULL.search(answer.data):
                    code, limit = errno.ENOSPC, min(limit, FULL_SECONDS)
                    problem = (
                        f"No space left on its servers (they say: {_words(answer.data)}): "
                        "remove files and collect, or give it more storage"
                    )
                elif answer.status < 499 and not is_broken:
                    limit = 0.0
                failures += 1
                self.renew()
            if failures >= most_failures or time.monotonic() + pause - begin > limit:
                raise OSError(code, problem)
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def renew(self) -> None:
        """Use none of the connections any more that there are: one that a server gave up once stays so."""
        pool, self._pool = self._pool, _pool(self.origin, self._dial)
        pool.close()

    def _once(
        self, method: str, path: str, body: Sequence[bytes] | None, fid: str, headers: Mapping[str, str]
    ) -> BaseHTTPResponse:
        return self._pool.urlopen(
            method,
            path,
            body=body,
            headers={"Authorization": f"BEARER {self._tokens.token(fid)}", **headers},
            retries=False,
            redirect=False,
            assert_same_host=False,
        )


def _pool(origin: str, dial: Dial | None) -> HTTPConnectionPool:
    try:
        from urllib3 import HTTPConnectionPool, Timeout
        from urllib3.connection import HTTPConnection
    except ImportError:
        raise StorageFailed(
            f"{origin} needs a package that is not installed: `pip install 'gristmill[volume]'` installs it"
        ) from None

    class Dialled(HTTPConnection):
        """A connection by way of somebody else's socket."""

        def _new_conn(self) -> Any:
            assert dial is not None
            socket = dial(self.host, self.port)
            socket.settimeout(_ANSWER_SECONDS)
            return socket

    parts = urlsplit(origin)
    pool = HTTPConnectionPool(
        parts.hostname or "",
        parts.port,
        maxsize=_MOST_IDLE,
        timeout=Timeout(connect=_CONNECT_SECONDS, read=_ANSWER_SECONDS),
    )
    if dial is not None:
        pool.ConnectionCls = Dialled
    return pool


def _words_of(error: Exception) -> str:
    """Return what went wrong with a connection, without the objects that urllib3 names."""
    cause = error.__cause__ or error.__context__ or error
    return str(getattr(cause, "strerror", None) or cause)


def _words(body: bytes) -> str:
    """Return what a server says of an error."""
    try:
        return str(orjson.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace").strip()[:200] or "nothing more"
