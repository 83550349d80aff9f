"""What to do about a FileVolume: a function of the resource, of what was made for it, and of what its masters say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gristmill.api.names import DISKS_FINALIZER, ConditionType, Reason
from gristmill.reconcilers.actions import Action, Create, Decision, Delete, Patch, SetFinalizer
from gristmill.reconcilers.stateful_sets import change
from gristmill.reconcilers.times import seconds_of
from gristmill.reconcilers.volume_access import PORTS, Part, pod_name
from gristmill.reconcilers.volume_chores import (
    Chore,
    chore_of,
    ended_at,
    is_done,
    job_of,
    leaver,
    next_chore,
    pause_after,
)
from gristmill.reconcilers.volume_claims import are_going, claim_actions, servers_wanted, storage_of
from gristmill.reconcilers.volume_objects import budgets, network_policy, services, stateful_set
from gristmill.reconcilers.volume_observed import VolumeObserved, replicas_of
from gristmill.reconcilers.volume_pods import template
from gristmill.reconcilers.volume_retention import at_stake, settle, unsettled
from gristmill.reconcilers.volume_status import is_ready, status

#: seconds between two looks: while something is about to happen, and else
_LOOK_SECONDS = (1.0, 5.0)
#: seconds that a deletion waits until Kubernetes knows what becomes of the disks: after that, only for those to be kept
REMOVAL_SECONDS = 30.0


@dataclass(frozen=True)
class VolumeSettings:
    """What the operator was told about all FileVolumes."""

    #: SeaweedFS
    image: str
    #: the operator's own, from where it asks the masters
    namespace: str


def decide(observed: VolumeObserved, settings: VolumeSettings, now: float) -> Decision:
    """Return what to do; `now` is unix seconds. What was refused is said by `status`, too."""
    held = DISKS_FINALIZER in (observed.metadata.get("finalizers") or ())
    if observed.is_leaving:
        return _remove(observed, now) if held else Decision()
    # (it is there before a disk is)
    going = observed.metadata.get("deletionTimestamp")
    actions: list[Action] = [] if held or going else [SetFinalizer(True)]
    actions += _missing(observed, settings)
    # (a pod that starts without the Secret waits for it; one with another key than the others' is of no use)
    actions += _sets(observed, settings) if observed.key else []
    actions += claim_actions(observed)
    chore = next_chore(observed, now)
    doing = _chores(observed, settings, chore, now)
    actions += doing
    busy = not is_ready(observed) or chore is not None or leaver(observed) is not None or bool(doing)
    return Decision(tuple(actions), status(observed, now), _LOOK_SECONDS[0 if busy else 1])


def _remove(observed: VolumeObserved, now: float) -> Decision:
    """Let a FileVolume go, when Kubernetes will do with its disks what the spec says.

    Or can't be brought to it; but never while it would delete one that is to stay. That is seen in a pass of its own:
    what this one does may be refused.
    """
    if not unsettled(observed):
        return Decision((SetFinalizer(False),))
    ready = observed.condition(ConditionType.READY)
    waits = ready.get("reason") == Reason.REMOVING
    late = waits and now >= (seconds_of(ready.get("lastTransitionTime")) or now) + REMOVAL_SECONDS
    actions = settle(observed, now=late)
    if late and not at_stake(observed):
        return Decision((*actions, SetFinalizer(False)))
    return Decision(tuple(actions), status(observed, now), _LOOK_SECONDS[0])


def _missing(observed: VolumeObserved, settings: VolumeSettings) -> list[Action]:
    """Make what does not change once it is there."""
    owner = observed.metadata
    wanted = [*services(owner), *budgets(owner), network_policy(owner, settings.namespace)]
    there = {
        (kind, found["metadata"]["name"])
        for kind in {made["kind"] for made in wanted}
        for found in observed.owned(kind)
    }
    return [Create(made) for made in wanted if (made["kind"], made["metadata"]["name"]) not in there]


def _sets(observed: VolumeObserved, settings: VolumeSettings) -> list[Action]:
    """Make the StatefulSets, and have them as they are wanted."""
    owner, spec, storage = observed.metadata, observed.spec, storage_of(observed)
    counts = {Part.MASTER: spec.masters, Part.SERVER: servers_wanted(observed), Part.FILER: 1}
    actions: list[Action] = []
    for part in PORTS:
        found = observed.set_of(part)
        pods = template(owner, spec, part, settings.image, observed.key, storage)
        wanted = stateful_set(owner, spec, part, counts[part], pods, found)
        if found is None:
            actions += [] if are_going(observed, part) else [Create(wanted)]
        elif body := change(found, wanted):
            actions.append(_patch("StatefulSet", found, body))
    return actions


def _chores(
    observed: VolumeObserved, settings: VolumeSettings, chore: Chore | None, now: float
) -> list[Action]:
    """Have the next chore done, when the one before has ended and is not needed any more."""
    job = observed.chore()
    if job is None:
        if chore is None or observed.topology is None:
            return []
        return [Create(job_of(chore, observed.metadata, observed.spec, settings.image))]
    ended, done = ended_at(job), chore_of(job)
    if job["metadata"].get("deletionTimestamp") or observed.topology is None:
        return []
    if ended is None:
        # (an evacuation takes an hour, and longer)
        return [_delete("Job", job)] if chore and chore.is_repair and done.gives_way else []
    if done.is_leave and done.server not in observed.topology.servers:
        if done.server == leaver(observed) and is_done(job) and not observed.on_last:
            return []  # (its claim is marked, and then it goes)
        return _brought_back(observed, job, done.server, ended)
    return [_delete("Job", job)] if now >= ended + pause_after(job, chore) else []


def _brought_back(observed: VolumeObserved, job: dict[str, Any], server: str, ended: float) -> list[Action]:
    """Have a server that has left its masters join them again: it does when it starts. The Job tells that it has to."""
    name, there = observed.metadata["name"], replicas_of(observed.set_of(Part.SERVER))
    stays = server in {pod_name(name, Part.SERVER, number) for number in range(there)}
    for pod in observed.pods_of(Part.SERVER):
        metadata = pod["metadata"]
        if (
            stays
            and metadata["name"] == server
            and (seconds_of(metadata["creationTimestamp"]) or 0.0) <= ended
        ):
            return [] if metadata.get("deletionTimestamp") else [_delete("Pod", pod)]
    return [_delete("Job", job)]


def _patch(kind: str, found: dict[str, Any], body: dict[str, Any]) -> Patch:
    return Patch(kind, found["metadata"]["name"], found["metadata"]["uid"], body)


def _delete(kind: str, found: dict[str, Any]) -> Delete:
    return Delete(kind, found["metadata"]["name"], found["metadata"]["uid"])
