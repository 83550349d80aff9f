"""A watch that does not tell of what was written is noticed."""

from __future__ import annotations

from typing import Any

import pytest

from gristmill.controllers.echoes import PATIENCE, Echoes
from gristmill.controllers.watched import is_watched


def version(number: int, uid: str = "a", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "resourceVersion": str(number), **metadata}}


@pytest.fixture
def echoes() -> Echoes:
    return Echoes(is_watched)


def test_a_write_that_is_not_heard_of_is_a_fault_of_its_watch(echoes: Echoes) -> None:
    echoes.expect("Cache", version(5), 0)
    assert echoes.fault(PATIENCE - 1) == ""
    assert "Caches" in echoes.fault(PATIENCE + 1)


def test_a_write_that_is_heard_of_is_none(echoes: Echoes) -> None:
    echoes.expect("Cache", version(5), 0)
    echoes.hear("Cache", version(4))
    assert echoes.fault(PATIENCE + 1)
    echoes.hear("Cache", version(6))
    assert echoes.fault(PATIENCE + 1) == ""


def test_an_echo_may_come_before_the_answer(echoes: Echoes) -> None:
    echoes.hear("Cache", version(5))
    echoes.expect("Cache", version(5), 0)
    assert echoes.fault(PATIENCE + 1) == ""


def test_what_is_gone_is_not_waited_for(echoes: Echoes) -> None:
    echoes.expect("Cache", version(5), 0)
    echoes.end("Cache", "a", 0)
    assert echoes.fault(PATIENCE + 1) == ""


def test_an_end_may_be_heard_of_before_the_answer_to_a_write(echoes: Echoes) -> None:
    echoes.hear("ChunkJob", version(4))
    echoes.end("ChunkJob", "a", 0)
    echoes.expect("ChunkJob", version(5), 1)
    assert echoes.fault(PATIENCE + 2) == ""


def test_what_is_being_deleted_is_still_told_of(echoes: Echoes) -> None:
    echoes.expect("ChunkJob", version(5, deletionTimestamp="2026-01-01T00:00:00Z"), 0)
    assert echoes.fault(PATIENCE + 1)


def test_what_has_its_labels_again_is_waited_for_again(echoes: Echoes) -> None:
    labels = {"gristmill.dev/chunkjob": "mill", "gristmill.dev/uid": "b"}
    echoes.end("Job", "a", 0)
    echoes.hear("Job", version(6, labels=labels))
    echoes.expect("Job", version(7, labels=labels), 0)
    assert "Jobs" in echoes.fault(PATIENCE + 1)


def test_later_writes_do_not_put_a_fault_off(echoes: Echoes) -> None:
    for second in range(0, 200, 10):
        echoes.expect("Cache", version(5 + second), second)
    assert echoes.fault(PATIENCE + 1)


@pytest.mark.parametrize(
    ("kind", "labels"), [("Event", {}), ("Job", {}), ("Job", {"gristmill.dev/uid": "b"})]
)
def test_what_no_watch_tells_of_has_no_echo(echoes: Echoes, kind: str, labels: dict[str, str]) -> None:
    """A Job whose labels somebody took away is none that is watched."""
    echoes.expect(kind, version(5, labels=labels), 0)
    assert echoes.fault(PATIENCE + 1) == ""
