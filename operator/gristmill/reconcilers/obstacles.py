"""Why there are no workers, in a word and a sentence: from the pods, and from warnings about them or their Job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.api.names import Reason
from gristmill.reconcilers.times import seconds_of
from gristmill.reconcilers.worker_job import belongs, kueue_of, parallelism_of

#: reasons of a container that waits, and what they come to
_WAITING = {
    "ErrImagePull": Reason.IMAGE_UNAVAILABLE,
    "ImagePullBackOff": Reason.IMAGE_UNAVAILABLE,
    "InvalidImageName": Reason.IMAGE_UNAVAILABLE,
    "ErrImageNeverPull": Reason.IMAGE_UNAVAILABLE,
    "CreateContainerConfigError": Reason.PODS_NOT_STARTED,
    "CreateContainerError": Reason.PODS_NOT_STARTED,
    "RunContainerError": Reason.PODS_NOT_STARTED,
}
#: of a container that a node is making
_MAKING = (None, "ContainerCreating", "PodInitializing")
#: reasons of warnings about a pod that a node can't make: a volume is missing, such as the ConfigMap of the modules
_NOT_MADE = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")
#: seconds in which pods are made, and started, where nothing is in the way
_PATIENCE = 2.0
#: so many workers that end by their own fault are no accident
_CRASHES = 3
#: a worker that has run for so long (seconds) is well
_WELL_SECONDS = 30.0
#: workers that began longer ago (seconds) say nothing: Kubernetes waits ten minutes at the most between two tries
_RECENT_SECONDS = 900.0
#: letters of a worker's last words that are shown
_SAID = 500


def waits_for_collection(told: dict[str, Any]) -> bool:
    """Whether nothing can be leased before somebody fetches results; `told` is what the queue says."""
    job = told["job"]
    unsettled = int(job.get("settled") or 0) < int(job.get("chunks") or 0)
    busy = told["leased"] or told["ready"] or told["delayed"] or told["chores"]
    return bool(
        job["phase"] == "running"
        and job.get("sink") == "queue"
        and job.get("suspended") != "1"
        and unsettled
        and not busy
    )


def is_alive(pod: dict[str, Any]) -> bool:
    """Whether a pod has not ended."""
    return (pod.get("status") or {}).get("phase", "Pending") in ("Pending", "Running")


def is_orphan(pod: dict[str, Any]) -> bool:
    """Whether a pod that has not ended is nobody's: its Job was deleted with `--cascade=orphan`."""
    metadata = pod["metadata"]
    return is_alive(pod) and not metadata.get("ownerReferences") and not metadata.get("deletionTimestamp")


def is_being_made(pod: dict[str, Any]) -> bool:
    """Whether a node has taken a pod and has not started it: what it waits for, Events tell and the pod does not."""
    status = pod.get("status") or {}
    taken = any(
        condition["type"] == "PodScheduled" and condition["status"] == "True"
        for condition in status.get("conditions") or ()
    )
    return taken and status.get("phase") == "Pending" and all(why in _MAKING for why, _ in _waiting(pod))


def lacks_secret(pod: dict[str, Any], name: str) -> bool:
    """Whether a container waits for the Secret of this name, or for what should be in it."""
    return any(why == "CreateContainerConfigError" and name in message for why, message in _waiting(pod))


def unexplained(
    job: dict[str, Any] | None, pods: Sequence[dict[str, Any]], uid: str, now: float
) -> dict[str, Any] | None:
    """Return the object of which Events tell why there are no workers: the Job that has no pods, or a pod."""
    if job is None or not belongs(job, uid) or not parallelism_of(job):
        return None
    alive = [pod for pod in pods if is_alive(pod)]
    if not all(map(is_being_made, alive)):
        return None
    found = min(alive, key=_created) if alive else job
    return found if now >= _created(found) + _PATIENCE else None


def has_crashed(pod: dict[str, Any], since: float) -> bool:
    """Whether a pod made since then ended by its own fault: what is deleted, or goes with its node, did not."""
    status, created = pod.get("status") or {}, _created(pod)
    if status.get("phase") != "Failed" or created < int(since):
        return False
    return bool(_end(pod).get("exitCode")) and not pod["metadata"].get("deletionTimestamp")


def waits_for_kueue(found: dict[str, Any]) -> bool:
    """Whether an object is a Job that Kueue is to start: its Workload tells what that waits for."""
    return bool(kueue_of(found)) and _is_suspended(found)


def why_queued(workload: dict[str, Any]) -> tuple[str, str]:
    """Return (reason, message) of why Kueue has not admitted a Workload, as its conditions tell it."""
    said = {one["type"]: one for one in (workload.get("status") or {}).get("conditions") or ()}
    for kind in ("QuotaReserved", "Admitted"):
        if kind in said and said[kind]["status"] == "False":
            return said[kind]["reason"], said[kind].get("message") or ""
    return "", ""


def crashes_of(job: dict[str, Any] | None, pods: Sequence[dict[str, Any]], now: float) -> str:
    """Return what the last of the workers said that end again and again by their own fault; "" where one is well."""
    if job is None or not parallelism_of(job) or any(_is_well(pod, now) for pod in pods):
        return ""
    crashed = sorted((pod for pod in pods if has_crashed(pod, now - _RECENT_SECONDS)), key=_created)
    if len(crashed) < _CRASHES:
        return ""
    name, end = crashed[-1]["metadata"]["name"], _end(crashed[-1])
    words = [line for line in (end.get("message") or "").splitlines() if line.strip()][-1:]
    last = words[0].strip()[:_SAID] if words else end.get("reason") or "nothing"
    return f"{len(crashed)} workers crashed, the last ({name}) with exit code {end['exitCode']}: {last}"


def obstacle_of(
    job: dict[str, Any] | None, pods: Sequence[dict[str, Any]], warnings: Sequence[tuple[str, str]]
) -> tuple[str, str] | None:
    """Return (reason, message), or None where nothing is in the way that could be seen."""
    for pod in pods:
        for why, message in _waiting(pod):
            if why in _WAITING:
                return _WAITING[why], f"{pod['metadata']['name']}: {message or why}"
        for condition in (pod.get("status") or {}).get("conditions") or ():
            refused = condition["type"] == "PodScheduled" and condition["status"] == "False"
            # (an error of the scheduler's own says nothing of nodes, and it tries again at once)
            if refused and condition.get("reason") != "SchedulerError":
                return Reason.UNSCHEDULABLE, condition.get("message") or "no node takes the pod"
    if job is None:
        return None
    if any(map(is_alive, pods)):
        return next(
            ((Reason.PODS_NOT_STARTED, message) for why, message in warnings if why in _NOT_MADE), None
        )
    if waits_for_kueue(job):
        if not warnings:
            return None  # (it was not looked at yet: most start at once)
        why = next((message for _, message in warnings), "") or "`kubectl describe workloads` tells why"
        return Reason.JOB_SUSPENDED, f"Kueue keeps the workers waiting (LocalQueue {kueue_of(job)}): {why}"
    if _is_suspended(job):
        return Reason.JOB_SUSPENDED, "the Job of the workers is suspended, by hand or by another controller"
    for reason, message in warnings:
        if reason == "FailedCreate":
            return refusal_of(message, Reason.PODS_REFUSED)
    return None


def refusal_of(message: str, otherwise: Reason) -> tuple[Reason, str]:
    """Return (reason, message) of what the API server refuses: a quota is used up, or `otherwise`."""
    return (Reason.QUOTA_EXCEEDED if "exceeded quota" in message else otherwise), message


def _is_suspended(found: dict[str, Any]) -> bool:
    return found.get("spec", {}).get("suspend") is True


def _states(pod: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return what is said of the containers of a pod that are in this state."""
    containers = (pod.get("status") or {}).get("containerStatuses") or ()
    return [said for one in containers if (said := (one.get("state") or {}).get(name))]


def _waiting(pod: dict[str, Any]) -> list[tuple[str | None, str]]:
    return [(said.get("reason"), said.get("message") or "") for said in _states(pod, "waiting")]


def _end(pod: dict[str, Any]) -> dict[str, Any]:
    """Return how a pod's container has ended."""
    return next(iter(_states(pod, "terminated")), {})


def _is_well(pod: dict[str, Any], now: float) -> bool:
    since = [seconds_of(said.get("startedAt")) or now for said in _states(pod, "running")]
    return is_alive(pod) and any(now >= began + _WELL_SECONDS for began in since)


def _created(found: dict[str, Any]) -> float:
    return seconds_of(found["metadata"].get("creationTimestamp")) or 0.0
