"""Whether the watches still tell what happens: whatever is written to a watched object must come back by its watch.

A watch can fall silent without an error, and then nothing is reconciled any more. Each write's answer says which
version is to be heard of; one that is not heard of in time is a fault, and a process that has one is started again.
"""

from __future__ import annotations

from typing import Any

#: seconds in which a watch tells of a write: longer than a watch that was lost takes to be made anew
PATIENCE = 100.0


class Echoes:
    """The versions of watched objects that were heard of, and those that were written and are waited for."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self._heard: dict[str, dict[str, int]] = {kind: {} for kind in kinds}
        #: of each object the oldest version that was not heard of, and since when (seconds) it is waited for
        self._expected: dict[tuple[str, str], tuple[int, float]] = {}

    def expect(self, kind: str, written: dict[str, Any], now: float) -> None:
        """Take the answer to a write."""
        metadata = written["metadata"]
        uid, version = metadata["uid"], int(metadata["resourceVersion"])
        # (the end of what is being deleted may be heard of before this answer is)
        if kind not in self._heard or metadata.get("deletionTimestamp"):
            return
        if version > self._heard[kind].get(uid, 0):
            self._expected.setdefault((kind, uid), (version, now))

    def hear(self, kind: str, found: dict[str, Any], gone: bool) -> None:
        """Take what a watch tells."""
        metadata = found["metadata"]
        uid, version = metadata["uid"], int(metadata["resourceVersion"])
        if gone:
            self._heard[kind].pop(uid, None)
        else:
            self._heard[kind][uid] = version
        if gone or version >= self._expected.get((kind, uid), (0, 0.0))[0]:
            self._expected.pop((kind, uid), None)

    def fault(self, now: float) -> str:
        """Return which watch is silent, or ""."""
        late = sorted(kind for (kind, _), (_, since) in self._expected.items() if now > since + PATIENCE)
        return f"the watch of {late[0]}s has not told of a write in {PATIENCE:g} s" if late else ""
