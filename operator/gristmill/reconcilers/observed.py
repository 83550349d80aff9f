"""What is there of a ChunkJob: what was made for it in Kubernetes, and what the queue says."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gristmill.api.chunkjob import ChunkJob
from gristmill.api.manifest import load_manifest
from gristmill.api.names import API_VERSION, KIND, ConditionType, Reason
from gristmill.api.on_cluster import WORK, check_on_cluster, in_pod
from gristmill.errors import ManifestError
from gristmill.planning.progress import Sample, State
from gristmill.protocol.job import JobContext
from gristmill.reconcilers.objects import is_owned
from gristmill.reconcilers.obstacles import is_alive
from gristmill.reconcilers.times import seconds_of
from gristmill.reconcilers.worker_job import belongs, is_for, parallelism_of, processes_of

#: fields of a spec that are taken over while a job runs, whatever is wrong with the others
_GOVERNING = ("suspend", "activeDeadlineSeconds", "ttlSecondsAfterFinished")


@dataclass(frozen=True)
class Observed:
    """What is there. Objects are as the API server has them."""

    resource: dict[str, Any]
    #: the Job with the name that the ChunkJob's has
    job: dict[str, Any] | None = None
    pods: Sequence[dict[str, Any]] = ()
    #: seconds since the Secret was made or seen to be there; infinity where it was not looked for yet
    secret_age: float = 0.0
    #: the same of the service account of workers that coordinate
    account_age: float = 0.0
    #: when that was made (unix seconds), where it is known
    account_made: float | None = None
    #: newest first: (reason, message) of warnings about what `unexplained` names
    warnings: Sequence[tuple[str, str]] = ()
    #: whether the queue answers
    queue_answers: bool = True
    #: seconds that the queue's clock is ahead of that of `now`; None where that is not known
    queue_ahead: float | None = 0.0
    #: what the queue says of the job; None where it does not know it
    told: dict[str, Any] | None = None
    #: whether the queue knows the job's user
    has_user: bool = True
    samples: Sequence[Sample] = ()
    #: the FileVolumes that the spec names and that are not there
    no_volumes: Sequence[str] = ()
    #: an object that is somebody else's and has a name that this job needs, in words; "" where there is none
    taken: str = ""
    #: why the API server refused what was to be done, ""
    refused: str = ""
    #: why the queue, which answers, refused what was to be done, ""
    queue_refuses: str = ""

    def queue_time(self, now: float) -> float:
        """Return what the queue's clock says `now`: for times that the queue has told."""
        return now + (self.queue_ahead or 0.0)


def has_begun(observed: Observed) -> bool:
    """Whether the job was ever in the queue, which may have lost it since, or may be unable to tell."""
    metadata, status = observed.resource["metadata"], observed.resource.get("status") or {}
    if observed.told is not None or has_ended(observed) or status.get("startTime"):
        return True
    return not observed.queue_answers and belongs(observed.job, metadata["uid"])


def former_workers(observed: Observed, job: ChunkJob) -> list[str]:
    """Return the pods of workers whose Job is not there, or was made for other work: they would begin with this."""
    found, uid = observed.job, observed.resource["metadata"]["uid"]
    owner = found["metadata"].get("uid") if found and belongs(found, uid) and is_for(found, job) else None
    return [
        pod["metadata"]["name"]
        for pod in observed.pods
        if is_alive(pod) and not (owner and is_owned(pod, owner))
    ]


def begun(resource: dict[str, Any], told: dict[str, Any]) -> float:
    """Return when the job began, in unix seconds: a queue that has forgotten it says when that was told anew."""
    created = int(told["job"]["created"]) / 1000
    known = seconds_of((resource.get("status") or {}).get("startTime"))
    return created if known is None else min(created, known)


def has_ended(observed: Observed) -> bool:
    """Whether the job is over: the queue's word counts, and the status where the queue does not know the job."""
    if observed.told is not None:
        return observed.told["job"]["phase"] in ("complete", "failed", "removing", "removed")
    status = observed.resource.get("status") or {}
    return any(
        condition["type"] in (ConditionType.COMPLETE, ConditionType.FAILED)
        and condition["status"] == "True"
        and condition["reason"] != Reason.INVALID_SPEC
        for condition in status.get("conditions") or ()
    )


def is_at_rest(resource: dict[str, Any], told: dict[str, Any] | None) -> bool:
    """Whether nothing happens to a job by itself: it has ended, or can't begin. Somebody may try it again."""
    if resource["metadata"].get("deletionTimestamp"):
        return False
    if told is not None:
        return told["job"]["phase"] in ("complete", "failed")
    return (resource.get("status") or {}).get("state") in (State.COMPLETE, State.FAILED)


def context_of(resource: dict[str, Any]) -> JobContext:
    """Return what workers must know of a job. ManifestError when the resource is wrong."""
    job = _load(resource["metadata"]["name"], resource["spec"])
    check_on_cluster(job)
    return JobContext(
        manifest=job.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"status"}),
        base=WORK,
        output=in_pod(job.spec.output.url) if job.spec.output else "",
        accept_code=job.spec.accept_code,
        generation=int(resource["metadata"].get("generation") or 0),
    )


def right_part_of(resource: dict[str, Any], job: dict[str, Any] | None) -> ChunkJob:
    """Return what is right in a wrong spec of the number of workers and of times; the rest means nothing.

    Where the most that there may be is not, those that are present stay; each has as many processes as it began with.
    """
    given = resource["spec"]
    present = 0 if job is None else parallelism_of(job)
    spec: dict[str, Any] = {"input": {"range": {"stop": 1}}, "process": {"function": "math:sqrt"}}
    for field in _GOVERNING:
        if field in given:
            spec = _with(spec, field, given[field])
    said = given.get("workers") or {}
    workers = _workers(spec, said) if isinstance(said, dict) else {}
    if present and "max" not in workers and (not isinstance(said, dict) or said.get("max") is not None):
        workers = {"max": present}
    processes = 1 if job is None else processes_of(job)
    return _load("job", {**spec, "workers": {**workers, "processes": processes}})


def _workers(spec: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    workers: dict[str, Any] = {}
    for field in ("max", "min"):
        if field not in said:
            continue
        workers = _with({**spec, "workers": workers}, "workers", {**workers, field: said[field]})["workers"]
    return workers


def _with(spec: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """Return a spec with this field, where that is right."""
    changed = {**spec, field: value}
    with suppress(ManifestError):
        _load("job", changed)
        return changed
    return spec


def _load(name: str, spec: dict[str, Any]) -> ChunkJob:
    return load_manifest({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec})
