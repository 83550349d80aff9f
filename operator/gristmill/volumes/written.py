"""The time by a storage's clock, for those that tell no time but of objects."""

from __future__ import annotations

import secrets

from gristmill.volumes.errors import StorageFailed
from gristmill.volumes.names import DRAFTS
from gristmill.volumes.port import Backend

#: a collection may remove it, too
_MOST_TRIES = 3


def written_now(backend: Backend) -> float:
    """Return the time that an object gets which is written now. StorageFailed where none is told."""
    for _ in range(_MOST_TRIES):
        key = f"{DRAFTS}/clock-{secrets.token_hex(8)}"
        backend.write(key, b"?")
        entry = backend.stat(key)
        backend.delete(key)
        if entry is not None and entry.modified:
            return entry.modified
    raise StorageFailed(
        f"{backend.url} does not tell when an object was written, so nothing can be set aside or collected"
    )
