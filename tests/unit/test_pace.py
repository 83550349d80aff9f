"""How much is taken at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.planning.intervals import alignment, complement, decompose, meet
from gristmill.planning.pace import Pace, slice_stop


@pytest.mark.parametrize(
    ("seconds", "height"), [(None, 0), (10.0, 0), (1.0, 0), (0.6, 0), (0.5, 1), (0.001, 9), (1e-9, 20)]
)
def test_an_interval_is_as_high_as_its_work_is_short(seconds: float | None, height: int) -> None:
    assert Pace(seconds).height(1.0, 20) == height


def test_the_pace_follows_the_newest_measurements() -> None:
    pace = Pace().after(10, 1.0)
    assert pace.seconds == pytest.approx(0.1)
    for _ in range(20):
        pace = pace.after(1, 1.0)
    assert pace.seconds == pytest.approx(1.0, rel=1e-3)
    assert pace.after(0, 5.0) == pace


def test_a_second_interval_is_held_only_while_chunks_are_short() -> None:
    assert not Pace().reads_ahead(0.25)
    assert Pace(0.1).reads_ahead(0.25)
    assert not Pace(0.3).reads_ahead(0.25)


positions = st.integers(0, 2**53)


@given(positions, st.integers(1, 5000), st.integers(0, 20))
def test_slices_are_aligned_and_inside(start: int, length: int, height: int) -> None:
    stop = slice_stop(start, start + length, height)
    size = stop - start
    assert start < stop <= start + length
    assert size & (size - 1) == 0
    assert start % size == 0
    assert size <= 1 << height


@given(positions, st.integers(0, 5000))
def test_a_decomposition_tiles_with_aligned_pieces(start: int, length: int) -> None:
    position = start
    for a, b in decompose(start, start + length):
        assert a == position
        assert (b - a) <= 1 << alignment(a)
        position = b
    assert position == start + length


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60))), st.integers(0, 30), st.integers(0, 60))
def test_gaps_are_what_is_not_done(done: list[tuple[int, int]], start: int, stop: int) -> None:
    stop = max(start, stop)
    done = [(a, b) for a, b in done if a < b]
    gaps = list(complement(done, start, stop))
    covered = {x for a, b in done for x in range(a, b)}
    assert {x for a, b in gaps for x in range(a, b)} == set(range(start, stop)) - covered
    assert all(a < b for a, b in gaps)


@given(positions, positions)
def test_two_positions_meet_in_the_smallest_interval_that_holds_both(a: int, b: int) -> None:
    height = meet(a, b)
    assert a >> height == b >> height
    assert height == 0 or a >> (height - 1) != b >> (height - 1)
