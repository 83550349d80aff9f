"""Which chore of a FileVolume comes first, and what is said of one that fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.volume_builders import (
    NOW,
    chore,
    claim,
    decided,
    degraded,
    observed,
    resource,
    told,
    topology,
)

from gristmill.reconcilers.times import text_of
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


# -- what fails


def failed(what: str, ended: float = 3, why: str = "BackoffLimitExceeded") -> dict[str, Any]:
    return chore(resource(), what, ended, "Failed", why)


def unseen(job: dict[str, Any] | None = None, spec_servers: int = 5, **look_failed: float) -> VolumeObserved:
    """Return five servers, and the disks of two more that were emptied; looks at these failed so many seconds ago."""
    seen = observed(resource(servers=spec_servers), 5, job)
    times = (look_failed.get("first"), look_failed.get("second"))
    disks = [
        claim("server", number, emptied=True, look_failed="" if ago is None else text_of(NOW - ago))
        for number, ago in enumerate(times, 5)
    ]
    return replace(seen, claims=[*seen.claims, *disks])


LOOK = "inspect files-server-5"
MARKED = "patch PersistentVolumeClaim data-files-server-5: gristmill.dev/inspect-failed"


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (unseen(), [f"create Job {LOOK}"]),
        # (that it failed is written down before another takes its place)
        (unseen(failed(LOOK)), [MARKED]),
        (unseen(failed(LOOK, 16)), [MARKED, "delete Job files-chore"]),
        (unseen(failed(LOOK), first=99), [MARKED]),
        # the next in turn, when there was time to see the log
        (unseen(failed(LOOK, 3), first=3), []),
        (unseen(failed(LOOK, 16), first=16), ["delete Job files-chore"]),
        (unseen(first=16), ["create Job inspect files-server-6"]),
        # both failed: the log of the last one stays until it is their turn again
        (unseen(failed(LOOK, 16), first=16, second=99), []),
        (unseen(first=16, second=99), []),
        (unseen(failed(LOOK, 301), first=301, second=299), ["delete Job files-chore"]),
        (unseen(first=301, second=400), ["create Job inspect files-server-6"]),
        (unseen(first=400, second=301), [f"create Job {LOOK}"]),
        # meanwhile another server can go
        (unseen(first=16, second=99, spec_servers=4), ["create Job evacuate files-server-4"]),
        (unseen(failed(LOOK, 16), first=16, second=99, spec_servers=4), ["delete Job files-chore"]),
    ],
)
def test_a_look_that_can_not_be_had_keeps_nothing_else_waiting(
    seen: VolumeObserved, words: list[str]
) -> None:
    assert told(decided(seen)) == words


def test_a_mark_that_somebody_wrote_does_no_harm() -> None:
    seen = observed(resource(servers=5), 5)
    seen = replace(seen, claims=[*seen.claims, claim("server", 5, emptied=True, look_failed="never")])
    assert told(decided(seen)) == [f"create Job {LOOK}"]


def test_all_marks_are_taken_away_when_a_server_has_the_disk_again() -> None:
    seen = replace(unseen(first=3, second=3), resource=resource(servers=7))
    patches = [word for word in told(decided(seen)) if "PersistentVolumeClaim" in word]
    assert patches == [
        f"patch PersistentVolumeClaim data-files-server-{number}: gristmill.dev/emptied,gristmill.dev/inspect-failed"
        for number in (5, 6)
    ]


def test_a_repair_does_not_wait_until_a_log_was_seen() -> None:
    seen = observed(resource(degraded(31)), 6, failed(EVACUATE), topology=topology(6, lacking=1))
    assert told(decided(seen)) == ["delete Job files-chore"]
    calm = observed(resource(servers=5), 6, failed("evacuate files-server-4"))
    assert told(decided(calm)) == []


WHY = "failed (BackoffLimitExceeded): `kubectl logs job/files-chore` shows why"


@pytest.mark.parametrize(
    ("seen", "kind", "words"),
    [
        (
            observed(resource(degraded(99)), 4, failed("repair"), topology=topology(4, lacking=2)),
            "Degraded",
            f"2 volumes lack copies, which are copied when a repair succeeds; the chore `repair` {WHY}",
        ),
        (
            observed(resource(), 4, failed("repair"), topology=topology(4, excess=2)),
            "Ready",
            f"the chore `repair` {WHY}",
        ),
        (
            observed(resource(), 6, failed(EVACUATE)),
            "Ready",
            f"has 3 volumes yet; the chore `{EVACUATE}` {WHY}, and it is done again",
        ),
        (
            observed(resource(), 6, failed(EVACUATE, why="DeadlineExceeded")),
            "Ready",
            "failed (DeadlineExceeded): `kubectl describe job/files-chore` shows why",
        ),
        (
            observed(resource(), 6, failed("leave files-server-5"), topology=topology(6, volumes=0)),
            "Ready",
            f"is empty; the chore `leave files-server-5` {WHY}",
        ),
        (
            unseen(failed(LOOK), first=3),
            "Ready",
            f"data-files-server-5 is kept so far: the chore `{LOOK}` {WHY}; it is done again after 5 minutes",
        ),
        (unseen(first=99), "Ready", "data-files-server-5 is kept so far: the chore `inspect` failed; it is"),
        (unseen(first=99), "Ready", "data-files-server-6 is deleted when the chore `inspect` finds no file"),
    ],
)
def test_a_chore_that_fails_is_told(seen: VolumeObserved, kind: str, words: str) -> None:
    assert words in message(seen, kind)
