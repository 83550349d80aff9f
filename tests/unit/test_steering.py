"""`gristmill retry`: killed at any moment, it leaves nothing that says complete of a job that is open again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest

from gristmill.cli import steering
from gristmill.errors import GristmillError
from gristmill.planning.values import DeadLetter


class Place:
    """A run with one dead letter, and what was done to it, in order."""

    def __init__(self, phase: str = "complete") -> None:
        self.deeds: list[str] = []
        self._phase = phase

    def status(self) -> dict[str, Any]:
        return {"name": "mine", "state": "Failed", "job": {"phase": self._phase}}

    def suspend(self, on: bool) -> None:
        self.deeds.append(f"suspend {on}")

    def how_to_go_on(self) -> str:
        return ""

    def queue(self) -> AbstractContextManager[Any]:
        return nullcontext(self)

    def dead_letters(self) -> list[DeadLetter]:
        return [DeadLetter(1, 2, 1, "error", 1, "w", "E")]

    @contextmanager
    def reopening(self) -> Iterator[None]:
        self.deeds.append("reopening")
        yield
        self.deeds.append("reopened")

    def retry(self, names: list[str]) -> int:
        self.deeds.append(f"open {names}")
        return len(names)


def test_no_status_says_complete_while_letters_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    monkeypatch.setattr(steering, "choose", lambda *words: place)
    where: Any = None
    steering.retry_letters([], where, as_json=True)
    assert place.deeds == ["reopening", "open ['1:2']", "reopened"]


@pytest.mark.parametrize("phase", ["removing", "removed"])
def test_letters_of_a_job_that_was_given_up_stay_closed(monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    place = Place(phase)
    monkeypatch.setattr(steering, "choose", lambda *words: place)
    where: Any = None
    with pytest.raises(GristmillError, match="was given up"):
        steering.retry_letters([], where, as_json=False)
    assert place.deeds == []


@pytest.mark.parametrize(("suspended", "what"), [(True, "suspend"), (False, "resume")])
def test_what_has_ended_is_neither_suspended_nor_resumed(
    monkeypatch: pytest.MonkeyPatch, suspended: bool, what: str
) -> None:
    place = Place()
    monkeypatch.setattr(steering, "choose", lambda *words: place)
    where: Any = None
    with pytest.raises(
        GristmillError, match=rf"mine has ended \(Failed\): there is nothing to {what}"
    ) as caught:
        steering.set_suspended(None, where, suspended=suspended, as_json=False)
    assert caught.value.exit_code == 1
    assert place.deeds == []
