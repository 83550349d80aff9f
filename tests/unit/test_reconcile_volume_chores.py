"""Which chore of a FileVolume comes first, and what is said of one that fails."""

from __future__ import annotations

import pytest
from tests.unit.volume_builders import NOW, chore, decided, degraded, observed, resource, told, topology

from gristmill.reconcilers.volume_observed import VolumeObserved
from gristmill.reconcilers.volume_status import status

EVACUATE = "evacuate files-server-5"
INSPECT = "inspect files-server-5"


def message(seen: VolumeObserved, kind: str) -> str:
    """Return what a condition says."""
    (found,) = [one for one in status(seen, NOW)["conditions"] if one["type"] == kind]
    return str(found["message"])


# -- copies come first


def lacking(running: str, since: float = 31) -> VolumeObserved:
    """Return a FileVolume that gets smaller, where copies have been missing for so many seconds, and a chore runs."""
    job = chore(resource(), running)
    return observed(resource(degraded(since)), 6, job, topology=topology(6, lacking=1))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (lacking(EVACUATE), ["delete Job files-chore"]),
        (lacking(INSPECT), ["delete Job files-chore"]),
        # (this one takes seconds)
        (lacking("leave files-server-5"), []),
        (lacking("repair"), []),
        (lacking(EVACUATE, since=29), []),
        (observed(resource(), 6, chore(resource(), EVACUATE)), []),
    ],
)
def test_a_long_chore_gives_way_to_a_repair(seen: VolumeObserved, words: list[str]) -> None:
    assert told(decided(seen)) == words


def test_a_chore_that_is_being_deleted_is_not_deleted_again() -> None:
    seen = lacking(EVACUATE)
    going = seen.chore()
    assert going is not None
    going["metadata"]["deletionTimestamp"] = "t"
    assert told(decided(seen)) == []


@pytest.mark.parametrize(("running", "copies"), [("repair", True), (EVACUATE, False), (INSPECT, False)])
def test_only_a_repair_copies(running: str, copies: bool) -> None:
    assert ("which are being copied" in message(lacking(running), "Degraded")) == copies
