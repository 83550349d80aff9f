"""Events, as the API server takes them, and whose statuses are written."""

from __future__ import annotations

import asyncio
import re

import pytest
from tests.unit.fake_api import FakeApi

from gristmill.controllers.cluster import Cluster, Outdated
from gristmill.controllers.statuses import Statuses, event_of
from gristmill.controllers.world import World
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


@pytest.mark.parametrize("there", ["another", ""])
def test_a_status_is_not_written_to_the_next_of_the_name(there: str) -> None:
    """Its version would be that of the next."""
    api, world = FakeApi(), World()
    former = {"metadata": {"namespace": "n", "name": "mill", "uid": "former", "resourceVersion": "1"}}
    if there:
        world.put("ChunkJob", api.add("ChunkJob", {"metadata": {**former["metadata"], "uid": there}}))
    with pytest.raises(Outdated):
        asyncio.run(Statuses(Cluster(api), world, "pod").write("ChunkJob", former, {"state": "Failed"}))
    assert api.calls == []
