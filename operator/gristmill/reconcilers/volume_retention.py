"""What Kubernetes does with a FileVolume's disks when it goes, and how it is brought to do what the spec says.

A StatefulSet says it, but what counts are the claims' owners: a claim that is owned by the StatefulSet goes with it.
The controller of StatefulSets makes the second follow the first, some time after.
"""

from __future__ import annotations

from typing import Any

from gristmill.reconcilers.actions import Action, Patch
from gristmill.reconcilers.objects import is_owned
from gristmill.reconcilers.volume_access import PORTS, Part
from gristmill.reconcilers.volume_observed import VolumeObserved, is_going, replicas_of

_POLICY = "persistentVolumeClaimRetentionPolicy"


def policy_of(observed: VolumeObserved) -> str:
    """Return what the spec says. (As it is written: what is wrong with the rest of a spec holds up no deletion.)"""
    return str(observed.resource["spec"].get("deletionPolicy") or "Retain")


def unsettled(observed: VolumeObserved) -> list[str]:
    """Return the StatefulSets that would do something else with their disks, if they went now."""
    return [
        found["metadata"]["name"]
        for part, found in _sets(observed)
        if not _says_so(observed, found) or _wrong(observed, part, found)
    ]


def at_stake(observed: VolumeObserved) -> list[str]:
    """Return the claims that are to stay, and that Kubernetes would delete if the FileVolume went now."""
    if policy_of(observed) == "Delete":
        return []
    return [
        claim["metadata"]["name"]
        for part, found in _sets(observed)
        for claim in _wrong(observed, part, found).values()
    ]


def settle(observed: VolumeObserved, *, now: bool) -> list[Action]:
    """Return what brings the StatefulSets to do with their disks what the spec says.

    `now`: without waiting for the controller of StatefulSets, as far as that can be done.
    """
    actions: list[Action] = []
    for part, found in _sets(observed):
        metadata = found["metadata"]
        if not _says_so(observed, found):
            body = {"spec": {_POLICY: {"whenDeleted": policy_of(observed)}}}
            actions.append(Patch("StatefulSet", metadata["name"], metadata["uid"], body))
        if policy_of(observed) == "Retain":
            # (of those that have no pod any more nobody else takes the owner away)
            actions += [
                _freed(claim, metadata["uid"])
                for number, claim in _wrong(observed, part, found).items()
                if now or number >= replicas_of(found)
            ]
    return actions


def _sets(observed: VolumeObserved) -> list[tuple[Part, dict[str, Any]]]:
    """Return the StatefulSets that are there, and not about to go by themselves: these change nothing any more."""
    found = ((part, observed.set_of(part)) for part in PORTS)
    return [(part, one) for part, one in found if one and not one["metadata"].get("deletionTimestamp")]


def _says_so(observed: VolumeObserved, found: dict[str, Any]) -> bool:
    said = (found["spec"].get(_POLICY) or {}).get("whenDeleted") or "Retain"
    return bool(said == policy_of(observed))


def _wrong(observed: VolumeObserved, part: Part, found: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the claims, by number, with which Kubernetes would do something else."""
    goes = policy_of(observed) == "Delete"
    return {
        number: claim
        for number, claim in observed.claims_of(part).items()
        if not is_going(claim)
        and is_owned(claim, found["metadata"]["uid"]) != goes
        # (of those beyond its number a StatefulSet takes none for its own)
        and not (goes and number >= replicas_of(found))
    }


def _freed(claim: dict[str, Any], uid: str) -> Action:
    """Return the patch after which a claim does not go with the StatefulSet of this uid."""
    metadata = claim["metadata"]
    others = [owner for owner in metadata["ownerReferences"] if owner.get("uid") != uid]
    body = {"metadata": {"ownerReferences": others, "resourceVersion": metadata["resourceVersion"]}}
    return Patch("PersistentVolumeClaim", metadata["name"], metadata["uid"], body)
