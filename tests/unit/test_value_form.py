"""A reduction whose values can't be written: the item that gave one is named, and no other."""

from __future__ import annotations

from typing import Any

import pytest

from gristmill.errors import ReduceError, ResultError
from gristmill.worker.fixing import UnfixedResults
from gristmill.worker.outputs import ValueForm

WRONG = "half of a pair: \ud800"


@pytest.mark.parametrize(
    "others", [["a"] * 7, [None, "a", True, "b", None, "c", "d"], [1.5, "a", 2, [], {}, None, 3]]
)
@pytest.mark.parametrize("place", [0, 3, 7])
def test_text_that_is_not_utf8_is_told_by_its_place(others: list[Any], place: int) -> None:
    results = [*others[:place], WRONG, *others[place:]]
    form = ValueForm(lambda left, right: f"{left}{right}")
    with pytest.raises(ResultError) as caught:
        form.fragment(results)
    assert caught.value.index == place
    with pytest.raises(ResultError) as caught:
        form.prepare(0, 4, results, range(2, 9, 2))
    assert caught.value.index == place


@pytest.mark.parametrize("made", [WRONG, [WRONG], object()])
def test_what_the_reduce_function_made_is_no_items_fault(made: Any) -> None:
    form = ValueForm(lambda left, right: made)
    with pytest.raises(ReduceError):
        form.fragment(["a", "b", "c"])
    with pytest.raises(ReduceError):
        form.prepare(0, 2, ["a", "b"], range(1, 3))


@pytest.mark.parametrize("changing", [{"a": 1}, [1]])
@pytest.mark.parametrize("others", [0, 1])
def test_results_that_may_have_changed_are_not_combined(changing: Any, others: int) -> None:
    form = ValueForm(lambda left, right: left)
    ends = range(1, others + 2)
    form.prepare(0, len(ends), [1, "text"][: len(ends)], ends, fixed=False)
    form.prepare(0, len(ends), [*[1] * others, changing], ends)
    with pytest.raises(UnfixedResults):
        form.prepare(0, len(ends), [*[1] * others, changing], ends, fixed=False)
