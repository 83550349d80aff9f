"""Events, as the API server takes them."""

from __future__ import annotations

import re

import pytest

from gristmill.controllers.statuses import event_of
from gristmill.reconcilers.actions import Note

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def event(name: str = "mill", message: str = "") -> dict[str, object]:
    resource = {"metadata": {"namespace": "n", "name": name, "uid": "u"}}
    return event_of(resource, "ChunkJob", Note("Failed", message), "pod")


@pytest.mark.parametrize(
    "name", ["mill", "a" * 63, f"{'a' * 39}-b", f"{'a' * 39}.b", f"{'a' * 37}---b", "a" * 40]
)
def test_an_event_has_a_name_that_is_one(name: str) -> None:
    made = event(name)["metadata"]
    assert isinstance(made, dict)
    assert SUBDOMAIN.fullmatch(made["name"])
    assert made["name"].startswith(name[:37])


@pytest.mark.parametrize("message", ["short", "é" * 700, "x" + "€" * 700, "𝄞" * 700, "x" * 2000])
def test_a_message_is_cut_where_a_character_ends(message: str) -> None:
    note = event(message=message)["note"]
    assert isinstance(note, str)
    assert message.startswith(note)
    assert len(note.encode()) <= 1024
    assert note == message or len(note.encode()) > 990
