"""What is kept of a failure is cheap to come by, however large the chunk is."""

from __future__ import annotations

from gristmill.sources import LargeLines
from gristmill.worker.failures import failure_at


def test_the_item_of_a_large_chunk_is_found_without_keeping_all_lines() -> None:
    lines = LargeLines(lambda: iter([b"one\ntwo\n", b"three\n"]), "utf-8")
    failure = failure_at(5, 1, lines, ValueError(), low=10)
    assert (failure.item, failure.items, failure.input) == (11, 3, '"two"')
    assert lines._content is None, "the whole chunk was read into memory"
