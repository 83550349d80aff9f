"""Tokens for SeaweedFS: who has the volume's key signs one for each server, good for seconds (JWT, HS256).

A token says when it ends, by the clock of the server that reads it. Clocks differ, so a server that refuses a token
is believed its own time, which its answer tells.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from email.utils import parsedate_to_datetime

#: seconds that a token is good for
_LIFE_SECONDS = 10
#: seconds that one is used again
_REUSE_SECONDS = 4.0


class Tokens:
    """Signs tokens for one server with the volume's key."""

    def __init__(self, key: str, clock: Callable[[], float] = time.time) -> None:
        self._key = key.encode()
        self._clock = clock
        #: seconds that the server's clock is ahead
        self._ahead = 0.0
        self._last = (-_REUSE_SECONDS, "")

    def token(self, fid: str = "") -> str:
        """Return a token: for the filer, or for the chunk of a volume server with this id."""
        now = self._clock()
        made, token = self._last
        if not fid and 0 <= now - made < _REUSE_SECONDS:
            return token
        claims = {"exp": int(now + self._ahead) + _LIFE_SECONDS, **({"fid": fid} if fid else {})}
        token = sign(claims, self._key)
        if not fid:
            self._last = (now, token)
        return token

    def learn(self, date: str | None) -> None:
        """Take over the server's time, as the `Date` of its answer tells it."""
        now = self._clock()
        self._last = (-_REUSE_SECONDS, "")
        if date:
            self._ahead = parsedate_to_datetime(date).timestamp() - now


def sign(claims: dict[str, object], key: bytes) -> str:
    """Return a JSON Web Token with these claims."""
    head = {"alg": "HS256", "typ": "JWT"}
    text = b".".join(_encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
    return b".".join([text, _encoded(hmac.digest(key, text, hashlib.sha256))]).decode()


def _encoded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
