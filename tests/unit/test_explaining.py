"""`gristmill failures` reads what a crash could not tell, and nothing that may be far away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.source_builders import plan_of

from gristmill.cli.explaining import _with_inputs
from gristmill.planning.plan import Plan
from gristmill.planning.values import DeadLetter
from gristmill.sources import open_source


class Place:
    """Where the job is; it counts what is read there."""

    def __init__(self, *, has_files: bool = True) -> None:
        self.has_files = has_files
        self.read_chunks: list[int] = []

    def read(self, plan: Plan, chunk: int) -> Sequence[Any]:
        self.read_chunks.append(chunk)
        return open_source(plan).read(chunk)


def inputs(place: Any, plan: Plan | None, *letters: DeadLetter) -> list[str]:
    return [letter.input for letter in _with_inputs(list(letters), place, plan)]


def crash(chunk: int, item: int, told: str = "") -> DeadLetter:
    return DeadLetter(chunk, item, 1, "crash", 1, "w", "killed", input=told)


@pytest.mark.parametrize("has_files", [True, False])
def test_a_chunk_is_read_once_for_its_letters_and_not_for_what_told_its_item(has_files: bool) -> None:
    plan = plan_of(chunks={"size": 3}, items=list("abcdef"))
    letters = [crash(0, 1, "'told'"), crash(1, 0), crash(1, 2), crash(1, -1), crash(1, 7)]
    place = Place(has_files=has_files)
    assert inputs(place, plan, *letters) == ["'told'", '"d"', '"f"', '["d","e","f"]', ""]
    assert place.read_chunks == [1]


def test_without_a_plan_there_is_nothing_to_read() -> None:
    assert inputs(Place(), None, crash(0, 1)) == [""]


@pytest.mark.parametrize(("has_files", "read"), [(True, [0, 1, 2]), (False, [])])
def test_files_that_changed_are_tried_a_few_times_and_those_of_a_cluster_never(
    tmp_path: Path, has_files: bool, read: list[int]
) -> None:
    (tmp_path / "lines").write_text("one\n")
    plan = plan_of(str(tmp_path), lines={"url": "lines"})
    (tmp_path / "lines").write_text("another\n")
    place = Place(has_files=has_files)
    assert inputs(place, plan, *(crash(chunk, 0) for chunk in range(5))) == [""] * 5
    assert place.read_chunks == read
