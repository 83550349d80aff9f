from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.planning.cover import fits, halves, tile
from gristmill.planning.intervals import decompose
from gristmill.planning.values import Segment


def seg(start: int, stop: int, low: int = 0, high: int = 0) -> Segment:
    return Segment(start, stop, low, high, 0, 0, 0)


@pytest.mark.parametrize(
    ("segments", "dead", "items", "chosen", "missing"),
    [
        ([], [], {}, [], [(0, 8)]),
        ([seg(0, 8)], [], {}, [0], []),
        ([seg(0, 4), seg(0, 8), seg(4, 8)], [], {}, [1], []),
        ([seg(4, 8), seg(0, 4)], [], {}, [1, 0], []),
        ([seg(0, 2), seg(4, 8)], [], {}, [0, 1], [(2, 4)]),
        # a dead chunk is a hole, and what covers it is not used
        ([seg(0, 8), seg(0, 4), seg(4, 5), seg(6, 8)], [(5, -1)], {}, [1, 2, 3], []),
        ([seg(0, 8)], [(5, -1)], {}, [], [(0, 5), (6, 8)]),
        # a split chunk counts when its fragments and dead items tile its items
        (
            [seg(0, 4), seg(4, 5, 0, 2), seg(4, 5, 3, 4), seg(5, 6), seg(6, 8)],
            [(4, 2)],
            {4: 4},
            [0, 1, 2, 3, 4],
            [],
        ),
        ([seg(0, 4), seg(4, 5, 0, 2), seg(5, 6), seg(6, 8)], [(4, 2)], {4: 4}, [0, 2, 3], [(4, 5)]),
        ([seg(0, 4), seg(4, 5, 0, 2), seg(4, 5, 2, 4), seg(5, 6), seg(6, 8)], [], {}, [0, 3, 4], [(4, 5)]),
        (
            [seg(0, 4), seg(4, 5, 0, 4), seg(4, 5, 3, 4), seg(5, 6), seg(6, 8)],
            [(4, 2)],
            {4: 4},
            [0, 3, 4],
            [(4, 5)],
        ),
        # the whole chunk wins over its fragments
        ([seg(4, 5, 0, 2), seg(0, 8)], [], {4: 4}, [1], []),
        # all items of a chunk are dead
        ([seg(0, 4), seg(5, 6), seg(6, 8)], [(4, 0), (4, 1)], {4: 2}, [0, 1, 2], []),
        # pieces of other blocks are ignored
        ([seg(8, 16), seg(0, 8)], [(9, -1)], {}, [1], []),
    ],
)
def test_tile(
    segments: list[Segment],
    dead: list[tuple[int, int]],
    items: dict[int, int],
    chosen: list[int],
    missing: list[tuple[int, int]],
) -> None:
    assert tile(segments, 0, 8, dead, items) == (chosen, missing)


@given(st.integers(0, 5), st.integers(0, 2**32), st.data())
def test_a_full_tiling_is_found_among_noise(height: int, seed: int, data: st.DataObject) -> None:
    rnd = random.Random(seed)
    stop = data.draw(st.integers(1, 1 << height))
    dead = sorted(data.draw(st.sets(st.integers(0, stop - 1), max_size=4)))
    calm = [
        seg(*piece) for a, b in zip([-1, *dead], [*dead, stop], strict=True) for piece in decompose(a + 1, b)
    ]
    noise = [seg(*piece) for piece in decompose(0, stop) for _ in range(2)]
    noise += [seg(chunk, chunk + 1) for chunk in range(stop) if rnd.random() < 0.5]
    segments = calm + noise
    rnd.shuffle(segments)
    chosen, missing = tile(segments, 0, stop, [(chunk, -1) for chunk in dead])
    assert missing == []
    covered = [chunk for index in chosen for chunk in range(segments[index].start, segments[index].stop)]
    assert covered == [chunk for chunk in range(stop) if chunk not in dead]


@pytest.mark.parametrize(
    ("start", "stop", "end", "answer"),
    [
        (0, 8, 100, True),
        (8, 16, 100, True),
        (4, 12, 100, False),
        (0, 7, 7, True),
        (0, 7, 100, False),
        (4, 7, 7, True),
        (2, 7, 7, False),
        (5, 5, 5, False),
    ],
)
def test_fits(start: int, stop: int, end: int, answer: bool) -> None:
    assert fits(start, stop, end) is answer


@pytest.mark.parametrize(
    ("start", "middle", "stop", "end", "answer"),
    [
        (0, 4, 8, 100, True),
        (4, 8, 12, 100, False),
        (0, 4, 6, 6, True),
        (0, 4, 6, 100, False),
        (4, 6, 7, 7, True),
        (0, 2, 6, 100, False),
    ],
)
def test_halves(start: int, middle: int, stop: int, end: int, answer: bool) -> None:
    assert halves(start, middle, stop, end) is answer
