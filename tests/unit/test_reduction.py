"""The tree of a reduction depends on the leaves alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gristmill.planning.intervals import decompose
from gristmill.planning.reduction import TreeFold, fold_levels


def pair(left: Any, right: Any) -> Any:
    return (left, right)


def fold(leaves: list[tuple[int, Any]]) -> Any:
    tree = TreeFold(pair)
    for position, value in leaves:
        tree.push(position, value)
    return tree.result()


leaves = st.dictionaries(st.integers(0, 200), st.integers(), max_size=60).map(lambda d: sorted(d.items()))


@given(leaves, st.lists(st.integers(0, 201)))
def test_any_dyadic_grouping_gives_the_same_tree(leaves: list[tuple[int, int]], cuts: list[int]) -> None:
    tree = TreeFold(pair)
    bounds = sorted({0, 201, *cuts})
    for low, high in pairwise(bounds):
        for a, b in decompose(low, high):
            found, value = fold([leaf for leaf in leaves if a <= leaf[0] < b])
            if found:
                tree.push(a, value)
    assert tree.result() == fold(leaves)


@given(st.lists(st.integers(), min_size=1, max_size=200), st.integers(0, 7))
def test_levels_are_the_same_tree_where_nothing_is_missing(values: list[int], height: int) -> None:
    start = 5 << 8
    assert fold_levels(values, pair) == fold(list(enumerate(values, start)))[1]


def test_nothing_has_no_value() -> None:
    assert fold([]) == (False, None)
    assert fold([(7, None)]) == (True, None)
