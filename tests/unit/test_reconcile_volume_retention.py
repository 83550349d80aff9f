"""What becomes of a FileVolume's disks when it goes: what its spec says then, whatever it said before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.volume_builders import NOW, claim, decided, made, observed, resource, topology

from gristmill.api.filevolume import FileVolumeStatus
from gristmill.reconcilers.actions import Decision, Patch, SetFinalizer
from gristmill.reconcilers.times import text_of
from gristmill.reconcilers.volume_observed import VolumeObserved
from gristmill.reconcilers.volume_status import status

PARTS = {"master": 1, "server": 4, "filer": 1}
LET_GO = (SetFinalizer(False),)


def owned(part: str, number: int, **more: Any) -> dict[str, Any]:
    """Return a claim that goes with its StatefulSet."""
    owner = {"kind": "StatefulSet", "name": f"files-{part}", "uid": f"s-{part}"}
    return claim(part, number, ownerReferences=[owner], **more)


def leaving(
    spec: str, sets: str, claims: str, waited: float | None = None, more: tuple[dict[str, Any], ...] = ()
) -> VolumeObserved:
    """Return a FileVolume that is deleted: the policies of its spec, of its StatefulSets, and as its claims are owned.

    `waited`: for so many seconds its deletion is being seen to.
    """
    conditions = [
        {
            "type": "Ready",
            "status": "False",
            "reason": "Removing",
            "lastTransitionTime": text_of(NOW - waited),
        }
        for waited in ([] if waited is None else [waited])
    ]
    volume = resource({"conditions": conditions}, deletionPolicy=spec)
    # (long ago: the operator was not there, or a ChunkJob used it)
    volume["metadata"]["deletionTimestamp"] = text_of(NOW - 9999)
    disk = owned if claims == "Delete" else claim
    disks = [disk(part, number) for part, count in PARTS.items() for number in range(count)]
    return observed(
        volume, objects=made(resource(deletionPolicy=sets)), claims=[*disks, *more], topology=None, key=""
    )


def without_set(seen: VolumeObserved, *, going: bool = False) -> VolumeObserved:
    """Return the same where Kubernetes takes the StatefulSets away already, or has."""
    sets = [] if not going else seen.owned("StatefulSet")
    for one in sets:
        one["metadata"]["deletionTimestamp"] = text_of(NOW)
    return replace(seen, objects={**seen.objects, "StatefulSet": sets})


def sets_told(policy: str, decision: Decision) -> bool:
    """Whether each StatefulSet is told what to do with its disks, and nothing else is done."""
    bodies = {one.name: one.body["spec"] for one in decision.actions if isinstance(one, Patch)}
    said = {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": policy}}
    return len(decision.actions) == 3 and bodies == {f"files-{part}": said for part in PARTS}


def freed(decision: Decision) -> list[str]:
    """Return the claims that have no owner any more, of those that are patched."""
    patches = [one for one in decision.actions if isinstance(one, Patch) and one.kind != "StatefulSet"]
    assert all(one.body["metadata"] == {"ownerReferences": [], "resourceVersion": "3"} for one in patches)
    return [one.name for one in patches]


def test_it_is_held_from_before_it_has_disks() -> None:
    fresh = resource()
    del fresh["metadata"]["finalizers"]
    actions = decided(VolumeObserved(fresh, key="key")).actions
    assert actions[0] == SetFinalizer(True)
    assert SetFinalizer(True) not in decided(VolumeObserved(resource(), key="key")).actions


def test_who_has_taken_the_finalizer_away_is_not_held_up() -> None:
    seen = leaving("Retain", "Delete", "Delete")
    seen.resource["metadata"]["finalizers"] = ["foregroundDeletion"]
    assert decided(seen) == Decision()
    # (nobody can add one to what is being deleted)
    assert SetFinalizer(True) not in decided(replace(seen, users=["mill"])).actions


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_it_goes_at_once_when_all_is_as_the_spec_says(policy: str) -> None:
    assert decided(leaving(policy, policy, policy)) == Decision(LET_GO)


@pytest.mark.parametrize(("spec", "before"), [("Retain", "Delete"), ("Delete", "Retain")])
def test_the_policy_that_the_spec_says_last_counts(spec: str, before: str) -> None:
    first = decided(leaving(spec, before, before))
    assert sets_told(spec, first)
    assert first.again == 1.0
    # (then Kubernetes has to act upon it)
    waits = decided(leaving(spec, spec, before, waited=3))
    assert waits.actions == ()
    assert waits.status is not None
    assert decided(leaving(spec, spec, spec, waited=3)).actions == LET_GO


@pytest.mark.parametrize(
    ("spec", "before", "what"), [("Retain", "Delete", "stay"), ("Delete", "Retain", "go")]
)
def test_what_the_deletion_waits_for_is_said(spec: str, before: str, what: str) -> None:
    shown = decided(leaving(spec, before, before)).status
    assert shown is not None
    FileVolumeStatus.model_validate(shown)
    ready, degraded = shown["conditions"]
    assert (ready["status"], ready["reason"]) == ("False", "Removing")
    assert ready["message"] == (
        "the deletion waits until it is settled that the disks of files-master, files-server and files-filer "
        f"{what}, as `deletionPolicy: {spec}` says"
    )
    assert (degraded["status"], degraded["message"]) == ("Unknown", "it is being deleted")


def test_the_wait_begins_when_the_deletion_is_seen_to() -> None:
    seen = leaving("Retain", "Delete", "Delete", waited=20)

    def since(seen: VolumeObserved) -> str:
        shown = decided(seen).status
        assert shown is not None
        return str(shown["conditions"][0]["lastTransitionTime"])

    assert since(seen) == text_of(NOW - 20)
    seen.resource["status"]["conditions"][0]["reason"] = "InUse"
    assert since(seen) == text_of(NOW)


def test_a_deletion_does_not_hang_where_the_policies_can_not_be_changed() -> None:
    """It is tried once more; the disks that are to stay are kept by what else can be done, and seen to be kept."""
    assert freed(decided(leaving("Retain", "Delete", "Delete", waited=29))) == []
    keeps = decided(leaving("Retain", "Delete", "Delete", waited=30))
    assert len(freed(keeps)) == 6
    assert sum(isinstance(one, Patch) and one.kind == "StatefulSet" for one in keeps.actions) == 3
    assert SetFinalizer(False) not in keeps.actions
    assert keeps.status is not None
    then = decided(leaving("Retain", "Delete", "Retain", waited=31))
    assert freed(then) == []
    assert then.actions[-1] == SetFinalizer(False)
    deletes = decided(leaving("Delete", "Retain", "Retain", waited=30))
    assert freed(deletes) == []
    assert deletes.actions[-1] == SetFinalizer(False)


def test_a_disk_that_is_to_stay_and_can_not_be_freed_is_waited_for() -> None:
    """However long: when the FileVolume has gone Kubernetes deletes it."""
    last = owned("filer", 0)
    seen = leaving("Retain", "Delete", "Retain", waited=9000)
    seen = replace(
        seen, claims=[one for one in seen.claims if one["metadata"]["name"] != "data-files-filer-0"]
    )
    assert decided(seen).actions[-1] == SetFinalizer(False)
    seen = replace(seen, claims=[*seen.claims, last])
    assert freed(decided(seen)) == ["data-files-filer-0"]
    assert SetFinalizer(False) not in decided(seen).actions
    message = status(seen, NOW, refused="a policy says no")["conditions"][0]["message"]
    assert message.endswith(
        "as `deletionPolicy: Retain` says; the API server refuses it: a policy says no; Kubernetes would delete "
        "data-files-filer-0: have the operator allowed to patch claims, or take away their `ownerReferences` yourself; "
        "or write `deletionPolicy: Delete`, if the files are of no use"
    )
    # (as in a namespace that is being deleted)
    assert decided(without_set(seen)).actions == LET_GO
    assert decided(without_set(seen, going=True)).actions == LET_GO
    last["metadata"]["deletionTimestamp"] = text_of(NOW)
    assert decided(seen).actions[-1] == SetFinalizer(False)


def test_what_to_do_is_said_of_many_disks_in_few_words() -> None:
    message = status(leaving("Retain", "Delete", "Delete", waited=30), NOW, refused="x" * 900)
    assert "Kubernetes would delete 6 disks: have the operator allowed to patch claims" in str(message)
    FileVolumeStatus.model_validate(message)


def test_disks_beyond_the_number_of_servers_are_kept_too() -> None:
    """The controller of StatefulSets looks at those only that have a pod."""
    left = owned("server", 4, emptied=True, has_files=True)
    seen = leaving("Retain", "Retain", "Retain", more=(left,))
    assert freed(decided(seen)) == ["data-files-server-4"]
    unowned = claim("server", 4, emptied=True, has_files=True)
    assert decided(leaving("Delete", "Delete", "Delete", more=(unowned,))).actions == LET_GO


def test_other_owners_of_a_claim_stay() -> None:
    left = owned("server", 4)
    left["metadata"]["ownerReferences"].append({"kind": "Backup", "uid": "b"})
    (patch,) = decided(leaving("Retain", "Retain", "Retain", more=(left,))).actions
    assert isinstance(patch, Patch)
    assert patch.body["metadata"]["ownerReferences"] == [{"kind": "Backup", "uid": "b"}]


@pytest.mark.parametrize("going", [True, False])
def test_what_is_gone_or_going_is_not_waited_for(going: bool) -> None:
    """As in a namespace that is being deleted."""
    seen = without_set(leaving("Retain", "Delete", "Delete"), going=going)
    assert decided(seen) == Decision(LET_GO)
    ends = [owned(part, n, deletionTimestamp="t") for part, count in PARTS.items() for n in range(count)]
    assert decided(replace(leaving("Retain", "Retain", "Retain"), claims=ends)) == Decision(LET_GO)


def test_what_never_was_is_not_waited_for() -> None:
    seen = leaving("Delete", "Delete", "Delete")
    assert decided(replace(seen, objects={}, claims=[])) == Decision(LET_GO)


def test_a_wrong_spec_holds_no_deletion_up() -> None:
    seen = leaving("Retain", "Delete", "Delete")
    seen.resource["spec"]["servers"] = "many"
    assert sets_told("Retain", decided(seen))


def test_a_job_that_uses_it_keeps_it_first() -> None:
    seen = replace(leaving("Retain", "Delete", "Delete"), users=["mill"], topology=topology())
    assert SetFinalizer(False) not in decided(seen).actions
