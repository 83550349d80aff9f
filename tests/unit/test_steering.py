"""`gristmill retry`: killed at any moment, it leaves nothing that says complete of a job that is open again."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from gristmill.cli import steering
from gristmill.planning.values import DeadLetter


class Place:
    """A run with one dead letter, and what was done to it, in order."""

    def __init__(self) -> None:
        self.deeds: list[str] = []

    def how_to_go_on(self) -> str:
        return ""

    def queue(self) -> AbstractContextManager[Any]:
        return nullcontext(self)

    def dead_letters(self) -> list[DeadLetter]:
        return [DeadLetter(1, 2, 1, "error", 1, "w", "E")]

    def reopened(self) -> None:
        self.deeds.append("no status says complete")

    def retry(self, names: list[str]) -> int:
        self.deeds.append(f"open {names}")
        return len(names)


def test_the_status_goes_before_letters_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    monkeypatch.setattr(steering, "choose", lambda *words: place)
    where: Any = None
    steering.retry_letters([], where, as_json=True)
    assert place.deeds == ["no status says complete", "open ['1:2']"]
