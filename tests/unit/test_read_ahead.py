"""One thread hints, another takes: neither finds the other in the middle of something."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from gristmill.worker.read_ahead import ReadAhead


class Watched(dict[int, Any]):
    """While it is looked through, somebody hints, as the thread that receives messages does at any time."""

    ahead: ReadAhead
    hinting: threading.Thread | None = None

    def __iter__(self) -> Iterator[int]:
        for chunk in super().__iter__():
            if self.hinting is None:
                self.hinting = threading.Thread(target=self.ahead.hint, args=(9,))
                self.hinting.start()
                self.hinting.join(0.5)
            yield chunk


def test_a_hint_waits_until_what_is_stale_is_dropped() -> None:
    ahead = ReadAhead(lambda chunk: [chunk])
    ahead._coming = watched = Watched()
    watched.ahead = ahead
    ahead.hint(1)
    ahead.hint(2)
    assert ahead.take(2) == [2]
    assert watched.hinting is not None
    watched.hinting.join()
    assert dict(watched).keys() == {9}


def test_no_more_than_two_chunks_wait_in_memory() -> None:
    ahead = ReadAhead(lambda chunk: [chunk])
    for chunk in range(1, 5):
        ahead.hint(chunk)
    assert ahead._coming.keys() == {1, 2}
    assert [ahead.take(chunk) for chunk in range(1, 5)] == [[1], [2], [3], [4]]
