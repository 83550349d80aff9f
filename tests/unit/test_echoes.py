"""A watch that does not tell of what was written is noticed."""

from __future__ import annotations

from typing import Any

from gristmill.controllers.echoes import PATIENCE, Echoes


def version(number: int, uid: str = "a", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "resourceVersion": str(number), **metadata}}


def test_a_write_that_is_not_heard_of_is_a_fault_of_its_watch() -> None:
    echoes = Echoes(("Job", "Cache"))
    echoes.expect("Job", version(5), 0)
    assert echoes.fault(PATIENCE - 1) == ""
    assert "Jobs" in echoes.fault(PATIENCE + 1)


def test_a_write_that_is_heard_of_is_none() -> None:
    echoes = Echoes(("Job",))
    echoes.expect("Job", version(5), 0)
    echoes.hear("Job", version(4), gone=False)
    assert echoes.fault(PATIENCE + 1)
    echoes.hear("Job", version(6), gone=False)
    assert echoes.fault(PATIENCE + 1) == ""


def test_an_echo_may_come_before_the_answer() -> None:
    echoes = Echoes(("Job",))
    echoes.hear("Job", version(5), gone=False)
    echoes.expect("Job", version(5), 0)
    assert echoes.fault(PATIENCE + 1) == ""


def test_what_is_deleted_is_not_waited_for() -> None:
    echoes = Echoes(("Job",))
    echoes.expect("Job", version(5), 0)
    echoes.hear("Job", version(6), gone=True)
    echoes.expect("Job", version(7, "b", deletionTimestamp="2026-01-01T00:00:00Z"), 0)
    assert echoes.fault(PATIENCE + 1) == ""


def test_later_writes_do_not_put_a_fault_off() -> None:
    echoes = Echoes(("Job",))
    for second in range(0, 200, 10):
        echoes.expect("Job", version(5 + second), second)
    assert echoes.fault(PATIENCE + 1)


def test_objects_that_nobody_watches_have_no_echo() -> None:
    echoes = Echoes(("Job",))
    echoes.expect("Event", version(5), 0)
    assert echoes.fault(PATIENCE + 1) == ""
