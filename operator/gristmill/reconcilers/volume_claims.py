"""The disks of a FileVolume: how large they are, when they grow, and when that of a server that is to go is given up.

A claim is deleted only where the operator has marked it: its server was empty by its own word, and had left. And only
when a chore has looked at the disk: a server tells of nothing that it could not load.
"""

from __future__ import annotations

from typing import Any

from gristmill.api.quantity import parse_quantity
from gristmill.reconcilers.actions import Action, Delete, Patch
from gristmill.reconcilers.stateful_sets import enlarged, size_asked
from gristmill.reconcilers.times import text_of
from gristmill.reconcilers.volume_access import Part, pod_name
from gristmill.reconcilers.volume_chores import (
    chore_of,
    ended_at,
    failure_of,
    has_found_files,
    inspect,
    is_done,
    leaver,
)
from gristmill.reconcilers.volume_disks import given_up, servers_needed
from gristmill.reconcilers.volume_objects import size_of
from gristmill.reconcilers.volume_observed import (
    EMPTIED,
    HAS_FILES,
    LOOK_FAILED,
    VolumeObserved,
    has_files,
    is_emptied,
    is_going,
    is_pending,
    look_failed_at,
    replicas_of,
)

_CLAIM = "PersistentVolumeClaim"


def storage_of(observed: VolumeObserved) -> int:
    """Return what the disk of each server has, as far as it is known: nothing is promised before a claim has grown."""
    there = replicas_of(observed.set_of(Part.SERVER))
    sizes = (_size(claim) for number, claim in observed.claims_of(Part.SERVER).items() if number < there)
    return min([observed.spec.storage, *filter(None, sizes)])


def servers_wanted(observed: VolumeObserved) -> int:
    """Return how many servers there are to be now: more at once, less one by one, each when it is empty."""
    found, claims = observed.set_of(Part.SERVER), observed.claims_of(Part.SERVER)
    there = replicas_of(found)
    needed = servers_needed(observed)
    if there < needed:
        # (one that comes back on a disk that is about to be deleted would lose it)
        awaited = any(is_emptied(claim) for number, claim in claims.items() if there <= number < needed)
        return there if found and awaited else needed
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
        if is_going(claim):
            continue
        if number < there and is_emptied(claim) and _is_back(observed, number):
            actions += _patched(claim, _unmarked(claim))
        elif number == there - 1 and not is_emptied(claim) and _is_empty(observed, claim):
            actions += _patched(claim, _marked(claim, {EMPTIED: observed.metadata["uid"]}))
    for number, claim in given_up(observed).items():
        actions += _of_given_up(observed, number, claim)
    return actions


def _of_given_up(observed: VolumeObserved, number: int, claim: dict[str, Any]) -> list[Action]:
    """Return what becomes of the disk of a server that was emptied: it goes when nothing was seen on it."""
    metadata, job = claim["metadata"], observed.chore()
    if number < servers_needed(observed):
        return _patched(claim, _unmarked(claim))
    looked = job is not None and chore_of(job) == inspect(observed, number)
    if is_pending(claim) or (job is not None and looked and is_done(job)):
        return [Delete(_CLAIM, metadata["name"], metadata["uid"], metadata["resourceVersion"])]
    if job is not None and looked and has_found_files(job) and not has_files(claim):
        return _patched(claim, _marked(claim, {HAS_FILES: observed.metadata["uid"]}))
    if job is not None and looked and failure_of(job) and look_failed_at(claim) != ended_at(job):
        return _patched(claim, _marked(claim, {LOOK_FAILED: text_of(ended_at(job) or 0.0)}))
    return []


def _is_back(observed: VolumeObserved, number: int) -> bool:
    """Whether an emptied server is not to go any more, or is with its masters again and may have got something."""
    pod = pod_name(observed.metadata["name"], Part.SERVER, number)
    return number < observed.spec.servers or observed.topology is None or pod in observed.topology.servers


def _is_empty(observed: VolumeObserved, claim: dict[str, Any]) -> bool:
    """Whether the last server, which is to go, has nothing, and gets nothing any more."""
    going, job = leaver(observed), observed.chore()
    if going is None or observed.topology is None or going in observed.topology.servers:
        return False
    if is_pending(claim):
        return True
    left = job is not None and is_done(job) and chore_of(job).is_leave and chore_of(job).server == going
    return left and observed.on_last == 0


def _marked(claim: dict[str, Any], marks: dict[str, str | None]) -> dict[str, Any]:
    version = claim["metadata"]["resourceVersion"]
    return {"metadata": {"annotations": marks, "resourceVersion": version}}


def _unmarked(claim: dict[str, Any]) -> dict[str, Any]:
    there = claim["metadata"].get("annotations") or {}
    return _marked(claim, {mark: None for mark in (EMPTIED, HAS_FILES, LOOK_FAILED) if mark in there})


def _patched(claim: dict[str, Any], body: dict[str, Any] | None) -> list[Action]:
    metadata = claim["metadata"]
    return [Patch(_CLAIM, metadata["name"], metadata["uid"], body)] if body else []


def _size(claim: dict[str, Any]) -> int | None:
    """Return the bytes that a claim has, or asks for where it has none yet."""
    has = ((claim.get("status") or {}).get("capacity") or {}).get("storage")
    try:
        return parse_quantity(has) if has else size_asked(claim)
    except ValueError:
        return None
