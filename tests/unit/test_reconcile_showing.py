"""When a status is written, and what people are told."""

from __future__ import annotations

from typing import Any

import pytest

from gristmill.reconcilers.showing import notes, worth_writing


def status(done: int = 0, state: str = "Running", **conditions: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "state": state,
        "chunks": {"succeeded": done},
        "conditions": [
            {"type": kind, "status": holds, "reason": reason, "message": message}
            for kind, (holds, reason, message) in conditions.items()
        ],
    }


@pytest.mark.parametrize(
    ("new", "since", "running", "pause"),
    [
        (status(), 100, 100, None),
        (status(1), 100, 100, 0),
        (status(1), 0.25, 10, 0.75),
        (status(1), 1, 300, 9),
        (status(1), 1, 10_000, 9),
        (status(state="Complete"), 0, 10_000, 0),
        (status(Planned=("True", "PlanWritten", "")), 0, 10_000, 0),
    ],
)
def test_numbers_can_wait_and_changes_can_not(
    new: dict[str, Any], since: float, running: float, pause: float | None
) -> None:
    assert worth_writing(status(), new, since, running) == (pause if pause is None else pytest.approx(pause))


def test_fields_that_are_not_said_do_not_differ() -> None:
    assert worth_writing(status() | {"other": 1}, status(), 10, 10) is None


def test_people_are_told_of_what_has_become_so() -> None:
    before = status(Planned=("True", "PlanWritten", ""), Progressing=("True", "Running", ""))
    after = status(
        Planned=("True", "PlanWritten", ""),
        Progressing=("False", "QuotaExceeded", "too small"),
        Complete=("True", "AllSucceeded", ""),
        Failed=("True", "LoadFailed", "no module"),
    )
    told = [(note.reason, note.message, note.warning) for note in notes(before, after)]
    assert told == [
        ("QuotaExceeded", "too small", True),
        ("AllSucceeded", "Complete: AllSucceeded", False),
        ("LoadFailed", "no module", True),
    ]
    assert notes(after, after) == []
