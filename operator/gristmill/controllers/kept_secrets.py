"""Secrets that let people in: made once, mended, and looked at from time to time, for no watch may tell of them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from math import inf
from typing import Any

from gristmill.controllers.cluster import Cluster
from gristmill.controllers.world import Key, key_of

#: seconds between two looks at the Secret of what serves
_SECRET_SECONDS = 600.0

#: the manifest of a Secret, with a fresh value and salt
Make = Callable[[dict[str, Any], str, str], dict[str, Any]]
#: a patch that makes a Secret whole with these, or None
Mend = Callable[[dict[str, Any], dict[str, Any], str, str], dict[str, Any] | None]


class KeptSecrets:
    """The Secrets of a kind of resources."""

    def __init__(
        self, cluster: Cluster, make: Make, mend: Mend, fingerprint: Callable[[dict[str, Any]], str]
    ) -> None:
        self._cluster = cluster
        self._make = make
        self._mend = mend
        self._fingerprint = fingerprint
        #: when (seconds) a Secret was last seen to be whole, and the fingerprint of its value
        self._seen: dict[Key, tuple[float, str]] = {}

    async def keep(self, resource: dict[str, Any], *, serves: bool) -> str:
        """See that a resource has its Secret, and a value in it; return the fingerprint of the value.

        Without it no pod starts.
        """
        key, now = key_of(resource), time.monotonic()
        seen, known = self._seen.get(key, (-inf, ""))
        if not serves or now >= seen + _SECRET_SECONDS:
            fresh = secrets.token_hex(24), secrets.token_hex(8)
            there = await self._cluster.create(self._make(resource, *fresh))
            if there and (body := self._mend(resource, there, *fresh)):
                name, uid = there["metadata"]["name"], there["metadata"]["uid"]
                there = await self._cluster.patch("Secret", key[0], name, body, uid=uid)
            known = self._fingerprint(there) if there else ""
            self._seen[key] = now, known
        return known

    def forget(self, key: Key) -> None:
        """Drop what is kept of a resource that is gone."""
        self._seen.pop(key, None)
