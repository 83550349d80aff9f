"""How many failures a job stands, and in what they are counted: planned or changed, the rule is the same."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders import chunk_job

from gristmill.local.keeper import _renew
from gristmill.local.state import StoredJob
from gristmill.protocol.job import JobContext


def context(tolerated: int | str) -> JobContext:
    return JobContext(chunk_job(failures={"tolerated": tolerated}), "/", "")


@pytest.mark.parametrize(
    ("tolerated", "items", "expected"),
    [
        (7, 1000, {"tolerated": 7, "tolerates": "items"}),
        (7, -1, {"tolerated": 7, "tolerates": "items"}),
        ("5%", 1000, {"tolerated": 50, "tolerates": "items"}),
        ("5%", -1, {"tolerated": 2, "tolerates": "chunks"}),
        ("5%", 0, {"tolerated": 0, "tolerates": "items"}),
    ],
)
def test_a_share_is_of_the_items_or_of_the_chunks_where_nobody_knows_the_items(
    tolerated: int | str, items: int, expected: dict[str, Any]
) -> None:
    assert context(tolerated).tolerance(chunks=40, items=items) == expected


def test_a_run_that_goes_on_with_another_tolerance_counts_in_its_unit() -> None:
    class Told:
        def status(self) -> dict[str, Any]:
            return {"job": {"planned": "1", "items": "-1", "chunks": "40", "phase": "running"}}

        def configure(self, parameters: dict[str, Any]) -> None:
            self.parameters = parameters

    queue: Any = Told()
    _renew(queue, StoredJob.of(context(7)))
    assert (queue.parameters["tolerated"], queue.parameters["tolerates"]) == (7, "items")
