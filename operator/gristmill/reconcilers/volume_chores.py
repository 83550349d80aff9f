"""What Jobs do for a FileVolume, one chore at a time.

`weed shell` repairs, empties a server, and has it leave its masters; then `inspect` looks whether its disk is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gristmill.api.filevolume import FileVolumeSpec
from gristmill.api.names import ConditionType
from gristmill.reconcilers.times import seconds_of
from gristmill.reconcilers.volume_access import PORTS, Part, host_of, pod_name
from gristmill.reconcilers.volume_disks import given_up, servers_needed
from gristmill.reconcilers.volume_objects import CHORE, chore_job
from gristmill.reconcilers.volume_observed import (
    VolumeObserved,
    has_files,
    is_pending,
    look_failed_at,
    replicas_of,
)
from gristmill.reconcilers.volume_pods import inspecting_pod, shell_pod

#: seconds for which the masters must miss something before it is copied: a server that restarts is back sooner
PATIENCE = 30.0
#: seconds between the end of a chore and the same once more
PAUSE = 15.0
#: seconds between two looks at a disk where the first could not be had: others need the time
AGAIN = 300.0
_REPAIR = "repair"
_EVACUATE = "evacuate"
_LEAVE = "leave"
_INSPECT = "inspect"
#: why a Job has failed whose policy knows the exit code of its pod
_POLICY = "PodFailurePolicy"
#: seconds that a chore may take: what is left then is for the next; a look is short, and others wait for it
_SECONDS, _INSPECT_SECONDS = 3600, 120


@dataclass(frozen=True)
class Chore:
    """Something to do, of a server where it is about one (the name of its pod)."""

    what: str
    server: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.server}".strip()

    @property
    def is_leave(self) -> bool:
        """Whether a server is to leave its masters."""
        return self.what == _LEAVE

    @property
    def is_repair(self) -> bool:
        """Whether what lacks copies is copied."""
        return self.what == _REPAIR

    @property
    def is_look(self) -> bool:
        """Whether the disk of a server that is gone is looked at."""
        return self.what == _INSPECT

    @property
    def gives_way(self) -> bool:
        """Whether it may be ended for a repair, and begun once more after that."""
        return self.what in (_EVACUATE, _INSPECT)


def chore_of(job: dict[str, Any]) -> Chore:
    """Return the chore of a Job."""
    said = str((job["metadata"].get("annotations") or {}).get(CHORE) or "")
    what, _, server = said.partition(" ")
    return Chore(what, server)


def ended_at(job: dict[str, Any]) -> float | None:
    """Return when a chore has ended, well or not; None: it has not."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return seconds_of(condition.get("lastTransitionTime")) or 0.0
    return None


def is_done(job: dict[str, Any]) -> bool:
    """Whether a chore has come to its end by itself."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Complete" and one["status"] == "True" for one in conditions)


def has_found_files(job: dict[str, Any]) -> bool:
    """Whether a chore that looked at a disk has seen files there: the policy of its Job knows its exit code."""
    return _failure_reason(job) == _POLICY


def failure_of(job: dict[str, Any]) -> str | None:
    """Return in a word why a chore was not done; None: it was, or has not ended."""
    reason = _failure_reason(job)
    return None if reason == _POLICY else reason


def pause_after(job: dict[str, Any], chore: Chore | None) -> float:
    """Return for how many seconds the Job of a chore that has ended stays; `chore` is the next.

    The same is not done again at once, and people can see the log of what has failed. Copies wait for neither.
    """
    done, failed = chore_of(job), failure_of(job) is not None
    if chore is None:
        return AGAIN if failed and done.is_look else 0.0
    return PAUSE if done == chore or (failed and not chore.is_repair) else 0.0


def inspect(observed: VolumeObserved, number: int) -> Chore:
    """Return the chore of looking at the disk of a server."""
    return Chore(_INSPECT, pod_name(observed.metadata["name"], Part.SERVER, number))


def leaver(observed: VolumeObserved) -> str | None:
    """Return the server that is to go next, the last one; None: there are not more than the spec says."""
    there = replicas_of(observed.set_of(Part.SERVER))
    if there <= observed.spec.servers:
        return None
    return pod_name(observed.metadata["name"], Part.SERVER, there - 1)


def missing(observed: VolumeObserved, now: float) -> list[str]:
    """Return the servers that the masters miss; not the one that is to go and has left, nor those that just start."""
    if observed.topology is None:
        return []
    begins = {
        pod["metadata"]["name"]
        for pod in observed.pods_of(Part.SERVER)
        if now < (seconds_of(pod["metadata"].get("creationTimestamp")) or 0.0) + PATIENCE
    }
    name, going = observed.metadata["name"], leaver(observed)
    pods = (pod_name(name, Part.SERVER, n) for n in range(replicas_of(observed.set_of(Part.SERVER))))
    return [pod for pod in pods if pod not in {*observed.topology.servers, *begins, going}]


def next_chore(observed: VolumeObserved, now: float) -> Chore | None:
    """Return what is to be done, whatever runs already. What lacks copies comes first."""
    topology, going = observed.topology, leaver(observed)
    if topology is None:
        return None
    if topology.lacking:
        return Chore(_REPAIR) if _has_waited(observed, now) else None
    if looks := _to_inspect(observed, now):
        return looks[0]
    if going is not None and going in topology.servers:
        return Chore(_EVACUATE if topology.servers[going] else _LEAVE, going)
    return Chore(_REPAIR) if topology.excess and not missing(observed, now) else None


def job_of(chore: Chore, owner: dict[str, Any], spec: FileVolumeSpec, image: str) -> dict[str, Any]:
    """Return the Job that does a chore; `owner` is the FileVolume's metadata."""
    if chore.what == _INSPECT:
        return chore_job(owner, str(chore), inspecting_pod(owner, image, chore.server), _INSPECT_SECONDS)
    return chore_job(owner, str(chore), shell_pod(owner, spec, image, _commands_of(chore, owner)), _SECONDS)


def _commands_of(chore: Chore, owner: dict[str, Any]) -> list[str]:
    node = f"{host_of(owner, Part.SERVER, chore.server)}:{PORTS[Part.SERVER]}"
    if chore.is_leave:
        done = f"volumeServer.leave -node {node} -apply"
    elif chore.what == _EVACUATE:
        done = f"volumeServer.evacuate -node {node} -skipNonMoveable -apply"
    else:
        done = "volume.fix.replication -apply"
    return ["lock", done, "unlock"]


def _to_inspect(observed: VolumeObserved, now: float) -> list[Chore]:
    """Return the looks that are to be had at disks that are given up, when their servers are gone.

    A look that could not be had is not due for a while, and then comes after those at other disks.
    """
    pods = {pod["metadata"]["name"] for pod in observed.pods_of(Part.SERVER)}
    failed = {
        number: look_failed_at(claim) or 0.0
        for number, claim in given_up(observed).items()
        if number >= servers_needed(observed) and not is_pending(claim) and not has_files(claim)
    }
    due = (number for number in sorted(failed, key=failed.__getitem__) if now >= failed[number] + AGAIN)
    return [look for look in (inspect(observed, number) for number in due) if look.server not in pods]


def _failure_reason(job: dict[str, Any]) -> str | None:
    conditions = (job.get("status") or {}).get("conditions") or ()
    failed = (one for one in conditions if one["type"] == "Failed" and one["status"] == "True")
    return next((str(one.get("reason") or "Failed") for one in failed), None)


def _has_waited(observed: VolumeObserved, now: float) -> bool:
    """Whether copies have been missing for so long that what is gone will not come back by itself."""
    degraded = observed.condition(ConditionType.DEGRADED)
    if degraded.get("status") != "True":
        return False
    return now >= (seconds_of(degraded.get("lastTransitionTime")) or now) + PATIENCE
