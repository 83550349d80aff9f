"""The disks of a FileVolume: how large they are, when they grow, and when that of a server that is to go is given up.

A claim is deleted only where the operator has marked it: its server was empty by its own word, and had left.
"""

from __future__ import annotations

from typing import Any

from gristmill.api.quantity import parse_quantity
from gristmill.reconcilers.actions import Action, Delete, Patch
from gristmill.reconcilers.stateful_sets import enlarged, size_asked
from gristmill.reconcilers.volume_access import Part, pod_name
from gristmill.reconcilers.volume_chores import chore_of, is_done, leaver
from gristmill.reconcilers.volume_objects import size_of
from gristmill.reconcilers.volume_observed import EMPTIED, VolumeObserved, is_emptied, replicas_of

_CLAIM = "PersistentVolumeClaim"


def storage_of(observed: VolumeObserved) -> int:
    """Return what the disk of each server has, as far as it is known: nothing is promised before a claim has grown."""
    there = replicas_of(observed.set_of(Part.SERVER))
    sizes = (_size(claim) for number, claim in observed.claims_of(Part.SERVER).items() if number < there)
    return min([observed.spec.storage, *filter(None, sizes)])


def servers_wanted(observed: VolumeObserved) -> int:
    """Return how many servers there are to be now: more at once, less one by one, each when it is empty.

    Disks that are there keep their servers, whoever left them: an earlier FileVolume had more, say.
    """
    found, claims = observed.set_of(Part.SERVER), observed.claims_of(Part.SERVER)
    there = replicas_of(found)
    beyond = {number: claim for number, claim in claims.items() if number >= there}
    kept = (number + 1 for number, claim in beyond.items() if not is_emptied(claim) and not _is_going(claim))
    needed = max(observed.spec.servers, *kept, 0)
    if there < needed:
        # (one that comes back on a disk that is about to be deleted would lose it)
        return there if found and any(map(is_emptied, beyond.values())) else needed
    if there <= observed.spec.servers or there - 1 not in claims:
        return there
    last = claims[there - 1]
    return there - 1 if is_emptied(last) and not _is_back(observed, there - 1) else there


def are_going(observed: VolumeObserved, part: Part) -> bool:
    """Whether Kubernetes deletes the disks of a part, with the StatefulSet that had them: another must not get them."""
    owned = (claim["metadata"].get("ownerReferences") for claim in observed.claims_of(part).values())
    return observed.set_of(part) is None and any(owned)


def claim_actions(observed: VolumeObserved) -> list[Action]:
    """Return what is to be done about the claims."""
    there = replicas_of(observed.set_of(Part.SERVER))
    actions: list[Action] = []
    for part in (Part.SERVER, Part.FILER):
        size = size_of(observed.spec, part)
        for number, claim in observed.claims_of(part).items():
            if part is Part.FILER or number < there:
                actions += _patched(claim, enlarged(claim, size))
    for number, claim in observed.claims_of(Part.SERVER).items():
        if _is_going(claim):
            continue
        if number >= there > 0 and is_emptied(claim):
            metadata = claim["metadata"]
            actions.append(Delete(_CLAIM, metadata["name"], metadata["uid"], metadata["resourceVersion"]))
        elif number < there and is_emptied(claim) and _is_back(observed, number):
            actions += _patched(claim, _marked(claim, None))
        elif number == there - 1 and not is_emptied(claim) and _is_empty(observed, claim):
            actions += _patched(claim, _marked(claim, observed.metadata["uid"]))
    return actions


def _is_back(observed: VolumeObserved, number: int) -> bool:
    """Whether an emptied server is not to go any more, or is with its masters again and may have got something."""
    pod = pod_name(observed.metadata["name"], Part.SERVER, number)
    return number < observed.spec.servers or observed.topology is None or pod in observed.topology.servers


def _is_empty(observed: VolumeObserved, claim: dict[str, Any]) -> bool:
    """Whether the last server, which is to go, has nothing, and gets nothing any more."""
    going, job = leaver(observed), observed.chore()
    if going is None or observed.topology is None or going in observed.topology.servers:
        return False
    if (claim.get("status") or {}).get("phase") == "Pending":
        return True  # (there never was a disk)
    left = job is not None and is_done(job) and chore_of(job).is_leave and chore_of(job).server == going
    return left and observed.on_last == 0


def _marked(claim: dict[str, Any], by: str | None) -> dict[str, Any]:
    version = claim["metadata"]["resourceVersion"]
    return {"metadata": {"annotations": {EMPTIED: by}, "resourceVersion": version}}


def _patched(claim: dict[str, Any], body: dict[str, Any] | None) -> list[Action]:
    metadata = claim["metadata"]
    return [Patch(_CLAIM, metadata["name"], metadata["uid"], body)] if body else []


def _is_going(claim: dict[str, Any]) -> bool:
    return bool(claim["metadata"].get("deletionTimestamp"))


def _size(claim: dict[str, Any]) -> int | None:
    """Return the bytes that a claim has, or asks for where it has none yet."""
    has = ((claim.get("status") or {}).get("capacity") or {}).get("storage")
    try:
        return parse_quantity(has) if has else size_asked(claim)
    except ValueError:
        return None
