"""A file a chunk: its bytes depend on the results alone, not on how many of them were written at a time."""

from __future__ import annotations

from typing import Any

import pytest

from gristmill.errors import ResultError
from gristmill.worker.fixing import UnfixedResults
from gristmill.worker.outputs import FilesForm

MIXED: list[Any] = ["text", 1, b"\x00bytes", None, {"a": [1.5]}, "last"]


@pytest.mark.parametrize("cut", range(len(MIXED) + 1))
def test_the_bytes_are_those_of_the_results_however_a_chunk_was_halved(cut: int) -> None:
    form = FilesForm()
    halves = form.fragment(MIXED[:cut]) + form.fragment(MIXED[cut:])
    assert halves == form.fragment(MIXED) == b'text1\n\x00bytesnull\n{"a":[1.5]}\nlast'


def test_a_result_that_is_not_json_is_told_by_its_place() -> None:
    with pytest.raises(ResultError) as caught:
        FilesForm().fragment(["text", 1, object()])
    assert caught.value.index == 2


@pytest.mark.parametrize("changing", [{"a": 1}, [1]])
def test_results_that_may_have_changed_are_not_written(changing: Any) -> None:
    FilesForm().prepare(0, 2, ["text", b"bytes", 1, None], [2, 4], fixed=False)
    FilesForm().prepare(0, 2, ["text", changing], [1, 2])
    with pytest.raises(UnfixedResults):
        FilesForm().prepare(0, 2, ["text", changing], [1, 2], fixed=False)
