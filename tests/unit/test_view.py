"""What was written from here is read at once, and what is read does not go back: in whatever order answers come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gristmill.coordination.port import Change, Kind, Record, Scope
from gristmill.coordination.view import View


@pytest.fixture
def view() -> View:
    """Return a view, which is told here what its store would."""
    made = View(None, Scope(Kind.NODE, "t"))  # type: ignore[arg-type]
    made._take(Change(1, record(1)))
    return made


def record(revision: int, uid: str = "a") -> Record:
    return Record(Kind.NODE, "n", "t", {}, revision=revision, uid=uid)


class Meanwhile(dict[str, Any]):
    """A dictionary; another thread does something after somebody has looked into it."""

    def __init__(self, what: dict[str, Any], act: Callable[[], None]) -> None:
        super().__init__(what)
        self._act = act

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        self._act()
        return found


@pytest.mark.parametrize("looked_into", ["_records", "_ahead"])
def test_what_was_written_is_read_while_its_event_comes(view: View, looked_into: str) -> None:
    view.wrote(record(2))
    known = getattr(view, looked_into)

    def event() -> None:
        setattr(view, looked_into, known)
        view._take(Change(2, record(2)))

    setattr(view, looked_into, Meanwhile(known, event))
    assert view.get("n") == record(2)


def test_an_answer_that_comes_late_does_not_hide_a_newer_one(view: View) -> None:
    view.wrote(record(3))
    view.wrote(record(2))
    assert view.get("n") == record(3)


@pytest.mark.parametrize("uid", ["a", "b"])
def test_an_answer_that_comes_late_does_not_bring_back_what_was_deleted(view: View, uid: str) -> None:
    """Also where that was another node of the same path, which somebody has made anew."""
    view.wrote(record(3, uid))
    view.deleted(record(3, uid))
    view.wrote(record(2))
    assert view.get("n") is None
    assert not view.all()
    view._take(Change(2, record(2)))
    assert view.get("n") is None
    if uid == "b":
        view._take(Change(3, record(2), deleted=True))
        view._take(Change(3, record(3, "b")))
        assert view.get("n") is None
    view._take(Change(4, record(4, uid), deleted=True))
    assert view.get("n") is None
    assert not view._ahead


def test_a_deletion_whose_answer_comes_late_does_not_hide_what_was_made_since(view: View) -> None:
    view.wrote(record(3, "b"))
    view.deleted(record(1))
    assert view.get("n") == record(3, "b")
    view._take(Change(2, record(2), deleted=True))
    assert view.get("n") == record(3, "b")


def test_what_was_deleted_and_made_anew_is_read(view: View) -> None:
    view.deleted(record(1))
    assert view.get("n") is None
    view.wrote(record(3, "b"))
    assert view.get("n") == record(3, "b")
    view._take(Change(2, record(2), deleted=True))
    view._take(Change(3, record(3, "b")))
    assert view.get("n") == record(3, "b")
    assert not view._ahead
