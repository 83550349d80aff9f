"""The status of a FileVolume: whether files can be read and written, what lacks copies, and what is done about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.api.names import ConditionType, Reason
from gristmill.api.quantity import rounded_quantity
from gristmill.api.status import MESSAGE_LETTERS
from gristmill.api.words import listed
from gristmill.reconcilers.objects import is_young
from gristmill.reconcilers.obstacles import obstacle_of, refusal_of
from gristmill.reconcilers.times import text_of
from gristmill.reconcilers.volume_access import PORTS, Part, access_name, endpoint, part_name
from gristmill.reconcilers.volume_chores import (
    AGAIN,
    chore_of,
    ended_at,
    failure_of,
    leaver,
    missing,
)
from gristmill.reconcilers.volume_claims import are_going
from gristmill.reconcilers.volume_disks import given_up
from gristmill.reconcilers.volume_observed import VolumeObserved, has_files, look_failed_at
from gristmill.reconcilers.volume_retention import at_stake, policy_of, unsettled

#: servers that are named one by one
_NAMED = 5


def status(
    observed: VolumeObserved, now: float, taken: str = "", refused: str = "", undone: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the status of a FileVolume.

    `taken` names an object that is in the way and somebody else's, `refused` says why the API server does not take
    what the FileVolume needs, `undone` what else is not as the spec says.
    """
    metadata, topology = observed.metadata, observed.topology
    shown: dict[str, Any] = {
        "conditions": [
            _condition(observed, ConditionType.READY, _readiness(observed, now, taken, refused, undone), now),
            _condition(observed, ConditionType.DEGRADED, _degradation(observed, now), now),
        ],
        "endpoint": endpoint(metadata["name"], metadata["namespace"]),
        "secretName": access_name(metadata["name"]),
    }
    if topology is not None:
        shown |= {
            "servers": len(topology.servers),
            "used": rounded_quantity(topology.used),
            "free": rounded_quantity(topology.free),
            "files": topology.files,
            "underReplicated": topology.lacking,
        }
    return shown


def is_ready(observed: VolumeObserved) -> bool:
    """Whether files can be read and written."""
    topology = observed.topology
    enough = topology is not None and len(topology.servers) >= observed.spec.copies
    return enough and _ready_pods(observed, Part.FILER) > 0


def _readiness(
    observed: VolumeObserved, now: float, taken: str, refused: str, undone: Sequence[str]
) -> tuple[str, Reason, str]:
    """Return whether a FileVolume can be used, why, and a sentence for people."""
    metadata = observed.metadata
    if observed.is_leaving:
        return "False", Reason.REMOVING, _removal(observed, refused)
    if metadata.get("deletionTimestamp"):
        using = listed(list(observed.users)[:_NAMED], "and")
        many = f" ({len(observed.users)} in all)" if len(observed.users) > _NAMED else ""
        message = f"the deletion waits for ChunkJob {using}{many}, which reads or writes it and has not ended"
        return "False", Reason.IN_USE, message
    obstacle = obstacle_of(None, [pod for part in PORTS for pod in observed.pods_of(part)], ())
    if is_ready(observed):
        more = [f"the API server refuses what it needs: {refused}"] if refused else []
        more += [f"{obstacle[1]}"] if obstacle else []
        more += [f"it needs a name: {taken}"] if taken else []
        said = (
            f"answers at {endpoint(metadata['name'], metadata['namespace'])}",
            *_leaving(observed),
            *_given_up(observed),
            *_failed_repair(observed),
            *more,
            *undone,
        )
        return "True", Reason.SERVING, "; ".join(said)
    if taken:
        # (what an earlier FileVolume of this name has left is gone in seconds)
        return "False", Reason.STARTING if is_young(metadata, now) else Reason.NAME_TAKEN, taken
    if refused:
        reason, message = refusal_of(refused, Reason.REFUSED)
        return "False", reason, "; ".join((message, *undone))
    if obstacle:
        return "False", Reason(obstacle[0]), "; ".join((obstacle[1], *undone))
    return "False", Reason.STARTING, "; ".join((_waits_for(observed), *undone))


def _removal(observed: VolumeObserved, refused: str) -> str:
    """Return what the deletion of a FileVolume waits for."""
    policy, disks = policy_of(observed), listed(unsettled(observed), "and")
    what = (
        f"the disks of {disks} {'stay' if policy == 'Retain' else 'go'}, as `deletionPolicy: {policy}` says"
    )
    message = f"the deletion waits until it is settled that {what}"
    if not refused:
        return message
    message = f"{message}; the API server refuses it: {refused}"
    claims = at_stake(observed)
    if not claims:
        return message
    named = listed(claims, "and") if len(claims) <= _NAMED else f"{len(claims)} disks"
    do = (
        "have the operator allowed to patch claims, or take away their `ownerReferences` yourself; or write "
        "`deletionPolicy: Delete`, if the files are of no use"
    )
    return f"{message}; Kubernetes would delete {named}: {do}"


def _waits_for(observed: VolumeObserved) -> str:
    """Return what keeps a FileVolume from being ready."""
    name, topology = observed.metadata["name"], observed.topology
    for part in PORTS:
        if observed.set_of(part) is None:
            why = ": the disks of an earlier one are being deleted" if are_going(observed, part) else ""
            return f"StatefulSet {part_name(name, part)} is not there yet{why}"
    if topology is None:
        return f"no master answers; `kubectl describe pod {part_name(name, Part.MASTER)}-0` shows why"
    copies = observed.spec.copies
    if len(topology.servers) < copies:
        there = f"{len(topology.servers)} of {observed.spec.servers} servers are there"
        return f"{there}, and {copies} copies of each file need {copies} of them"
    pod = f"{part_name(name, Part.FILER)}-0"
    return f"pod {pod} is not ready; `kubectl describe pod {pod}` shows what it waits for"


def _leaving(observed: VolumeObserved) -> list[str]:
    """Return what becomes of the server that is to go."""
    going, topology = leaver(observed), observed.topology
    if going is None or topology is None:
        return []
    job = observed.chore()
    its_own = job is not None and chore_of(job).server == going
    tried = job is not None and its_own and ended_at(job) is not None
    failed = (
        f"; {_failure(job)}, and it is done again" if job is not None and its_own and failure_of(job) else ""
    )
    leaves = job is not None and its_own and chore_of(job).is_leave
    if left := topology.servers.get(going):
        stays = ": they fit on no other server, or all others have them; free room, or write more servers"
        why = failed or stays * tried
        return [f"{going} is to go and has {left} volumes yet{why}"]
    if going not in topology.servers and not (tried or leaves):
        return [f"{going} is to go, and its masters miss it: it can't be emptied before it is back"]
    if going not in topology.servers and observed.on_last is None:
        return [f"{going} is to go and has left its masters; it does not answer when it is asked what it has"]
    return [f"{going} is to go and is empty{failed}"]


def _given_up(observed: VolumeObserved) -> list[str]:
    """Return what is done about the disks of servers that are gone, and which are kept."""
    claims = given_up(observed)
    kept = [claim["metadata"]["name"] for claim in claims.values() if has_files(claim)]
    looked = {
        claim["metadata"]["name"]: look_failed_at(claim) for claim in claims.values() if not has_files(claim)
    }
    awaited = [name for name, failed in looked.items() if failed is None]
    unseen = [name for name in looked if name not in awaited]
    said = []
    if awaited:
        said.append(f"{_some(awaited, 'disks')} deleted when the chore `inspect` finds no file there")
    if unseen:
        job = observed.chore()
        why = (
            _failure(job)
            if job and chore_of(job).is_look and failure_of(job)
            else "the chore `inspect` failed"
        )
        said.append(
            f"{_some(unseen, 'disks')} kept so far: {why}; it is done again after {AGAIN / 60:.0f} minutes"
        )
    if kept:
        why = "there are files which SeaweedFS could not load"
        do = "write more servers, and a server has it again, or delete it, if the files are of no use"
        said.append(f"{_some(kept, 'disks')} kept, though emptied: {why}; {do}")
    return said


def _failed_repair(observed: VolumeObserved) -> list[str]:
    """Return what is wrong where what is too much can't be taken away. (What lacks copies is told by Degraded.)"""
    job, topology = observed.chore(), observed.topology
    if job is None or not chore_of(job).is_repair or not failure_of(job):
        return []
    return [_failure(job)] if topology is not None and topology.excess and not topology.lacking else []


def _failure(job: dict[str, Any]) -> str:
    """Return which chore failed, and how to see why: of one that had no more time there is no pod, and no log."""
    name, reason = job["metadata"]["name"], failure_of(job)
    how = "describe" if reason == "DeadlineExceeded" else "logs"
    return f"the chore `{chore_of(job)}` failed ({reason}): `kubectl {how} job/{name}` shows why"


def _degradation(observed: VolumeObserved, now: float) -> tuple[str, Reason, str]:
    """Return whether something lacks copies, and what is done about it."""
    topology = observed.topology
    if observed.is_leaving:
        return "Unknown", Reason.REMOVING, "it is being deleted"
    if topology is None:
        return "Unknown", Reason.UNKNOWN, "no master answers"
    copies = observed.spec.copies
    gone = missing(observed, now)
    # (servers that have not come yet are not missing)
    before = observed.condition(ConditionType.DEGRADED), observed.condition(ConditionType.READY)
    if gone and not topology.lacking and not any(one.get("status") == "True" for one in before):
        return "False", Reason.STARTING, f"{_some(gone)} not there yet"
    if not gone and not topology.lacking:
        return "False", Reason.ALL_COPIES, f"all that the servers tell of has {copies} copies"
    said = [f"{_some(gone)} missing"] if gone else []
    if topology.lacking:
        job = observed.chore()
        repairs = job is not None and ended_at(job) is None and chore_of(job).is_repair
        doing = "are being copied" if repairs else "are copied when they have been missed for 30 seconds"
        if job is not None and chore_of(job).is_repair and failure_of(job):
            doing = f"are copied when a repair succeeds; {_failure(job)}, and it is done again"
        said.append(f"{topology.lacking} volumes lack copies, which {doing}")
    else:
        said.append("all that the others tell of has its copies")
    return "True", Reason.SERVERS_MISSING if gone else Reason.COPIES_MISSING, "; ".join(said)


def _some(names: Sequence[str], kind: str = "servers") -> str:
    named = listed(list(names[:_NAMED]), "and") if len(names) <= _NAMED else f"{len(names)} {kind}"
    return f"{named} {'is' if len(names) == 1 else 'are'}"


def _ready_pods(observed: VolumeObserved, part: Part) -> int:
    found = observed.set_of(part)
    return int(((found or {}).get("status") or {}).get("readyReplicas") or 0)


def _condition(
    observed: VolumeObserved, kind: ConditionType, said: tuple[str, Reason, str], now: float
) -> dict[str, Any]:
    holds, reason, message = said
    before = observed.condition(kind)
    # (a deletion is given up some time after it has begun, not after it was not ready any more)
    same = before.get("status") == holds and (reason is not Reason.REMOVING or before.get("reason") == reason)
    return {
        "type": str(kind),
        "status": holds,
        "reason": str(reason),
        "message": message[:MESSAGE_LETTERS],
        "observedGeneration": observed.metadata["generation"],
        "lastTransitionTime": before["lastTransitionTime"] if same else text_of(now),
    }
