"""Whether the watches still tell what happens: whatever is written to a watched object must come back by its watch.

A watch can fall silent without an error, and then nothing is reconciled any more. Each write's answer says which
version is to be heard of; one that is not heard of in time is a fault, and a process that has one is started again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: seconds in which a watch tells of a write: longer than a watch that was lost takes to be made anew
PATIENCE = 100.0


class Echoes:
    """The versions of watched objects that were heard of, and those that were written and are waited for.

    `watches` says whether there is a watch that tells of an object of a kind as it was written.
    """

    def __init__(self, watches: Callable[[str, dict[str, Any]], bool]) -> None:
        self._watches = watches
        self._heard: dict[str, int] = {}
        #: uids of what is gone, and when (seconds) that was heard: the answer to a write may come later
        self._gone: dict[str, float] = {}
        #: of each object the oldest version that was not heard of, and since when (seconds) it is waited for
        self._expected: dict[tuple[str, str], tuple[int, float]] = {}

    def expect(self, kind: str, written: dict[str, Any], now: float) -> None:
        """Take the answer to a write."""
        metadata = written["metadata"]
        uid, version = metadata["uid"], int(metadata["resourceVersion"])
        if uid in self._gone or not self._watches(kind, written):
            return
        if version > self._heard.get(uid, 0):
            self._expected.setdefault((kind, uid), (version, now))

    def hear(self, kind: str, found: dict[str, Any]) -> None:
        """Take what a watch tells of an object that is there."""
        metadata = found["metadata"]
        uid, version = metadata["uid"], int(metadata["resourceVersion"])
        self._heard[uid] = version
        self._gone.pop(uid, None)
        if version >= self._expected.get((kind, uid), (0, 0.0))[0]:
            self._expected.pop((kind, uid), None)

    def end(self, kind: str, uid: str, now: float) -> None:
        """Take that an object is gone, or is not watched any more: nothing more will be heard of it."""
        self._heard.pop(uid, None)
        self._expected.pop((kind, uid), None)
        self._gone = {one: at for one, at in self._gone.items() if now < at + PATIENCE} | {uid: now}

    def fault(self, now: float) -> str:
        """Return which watch is silent, or ""."""
        late = sorted(kind for (kind, _), (_, since) in self._expected.items() if now > since + PATIENCE)
        return f"the watch of {late[0]}s has not told of a write in {PATIENCE:g} s" if late else ""
