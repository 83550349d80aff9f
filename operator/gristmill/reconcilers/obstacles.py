"""Why there are no workers, in a word and a sentence: from the pods, and from warnings about their Job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.api.names import Reason
from gristmill.reconcilers.times import seconds_of

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


def has_crashed(pod: dict[str, Any], since: float) -> bool:
    """Whether a pod made since then ended by its own fault: what is deleted, or goes with its node, did not."""
    status, created = pod.get("status") or {}, seconds_of(pod["metadata"].get("creationTimestamp"))
    if status.get("phase") != "Failed" or created is None or created < int(since):
        return False
    ends = (
        (container.get("state") or {}).get("terminated")
        for container in status.get("containerStatuses") or ()
    )
    return any(end and end.get("exitCode") for end in ends) and not pod["metadata"].get("deletionTimestamp")


def obstacle_of(
    job: dict[str, Any] | None, pods: Sequence[dict[str, Any]], warnings: Sequence[tuple[str, str]]
) -> tuple[str, str] | None:
    """Return (reason, message), or None where nothing is in the way that could be seen."""
    for pod in pods:
        status = pod.get("status") or {}
        for container in status.get("containerStatuses") or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _WAITING:
                message = waiting.get("message") or waiting["reason"]
                return _WAITING[waiting["reason"]], f"{pod['metadata']['name']}: {message}"
        for condition in status.get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return Reason.UNSCHEDULABLE, condition.get("message") or "no node takes the pod"
    if job is None or any(map(is_alive, pods)):
        return None
    if (job["spec"].get("suspend")) is True:
        return Reason.JOB_SUSPENDED, "the Job of the workers is suspended: by Kueue, or by hand"
    for reason, message in warnings:
        if reason == "FailedCreate":
            quota = "exceeded quota" in message
            return (Reason.QUOTA_EXCEEDED if quota else Reason.PODS_REFUSED), message
    return None
