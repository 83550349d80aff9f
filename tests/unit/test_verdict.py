"""Whose fault the death of a child is."""

from __future__ import annotations

import json

import pytest

from gristmill.planning.values import Lease
from gristmill.protocol.steps import ChoreFailed, Fail, Release
from gristmill.worker.verdict import Scene, after_death


def scene(chunk: int = 5, exact: bool = True, item: int = 2, items: int = 10, kind: str = "crash") -> Scene:
    return Scene(
        kind, "the process was killed by SIGSEGV", chunk, exact, item, items, "Fatal Python error", "w1"
    )


def test_an_announced_chunk_is_charged_and_the_rest_given_back_uncharged() -> None:
    failed, released = after_death(Lease("n", 1, 4, 8), scene(), now=7.0)
    assert isinstance(failed, Fail)
    assert (failed.chunk, failed.item, failed.items, failed.kind, failed.final) == (5, 2, 10, "crash", False)
    letter = json.loads(failed.letter)
    assert (letter["traceback"], letter["at"], letter["worker"]) == ("Fatal Python error", 7.0, "w1")
    assert released == Release("n", lost=False)


def test_the_last_chunk_of_a_lease_leaves_nothing_to_give_back() -> None:
    (failed,) = after_death(Lease("n", 1, 4, 6), scene(), now=0)
    assert isinstance(failed, Fail)


def test_a_fragment_is_charged_alone() -> None:
    (failed,) = after_death(Lease("n", 1, 5, 6, low=0, high=4), scene(), now=0)
    assert isinstance(failed, Fail)


@pytest.mark.parametrize(
    "of",
    [scene(exact=False), scene(chunk=-1), scene(chunk=3), scene(chunk=8)],
    ids=["fast", "idle", "before", "after"],
)
def test_nobody_is_charged_where_the_culprit_is_unknown(of: Scene) -> None:
    assert after_death(Lease("n", 1, 4, 8), of, now=0) == [Release("n", lost=True)]


def test_a_time_out_is_that_of_the_chunk_so_no_item_is_named() -> None:
    failed, _ = after_death(Lease("n", 1, 4, 8), scene(kind="timeout"), now=0)
    assert isinstance(failed, Fail)
    assert (failed.item, failed.items) == (-1, 10)


@pytest.mark.parametrize(("high", "final"), [(4, True), (1, False)])
def test_items_that_took_too_long_together_are_halved_at_once_and_a_single_one_is_tried_again(
    high: int, final: bool
) -> None:
    (failed,) = after_death(Lease("n", 1, 5, 6, low=0, high=high), scene(kind="timeout"), now=0)
    assert isinstance(failed, Fail)
    assert failed.final == final


def test_a_chore_is_tried_again() -> None:
    (failed,) = after_death(Lease("n", 1, chore="assemble:3"), scene(), now=0)
    assert isinstance(failed, ChoreFailed)
    assert not failed.final
    assert "assemble:3" in failed.message
