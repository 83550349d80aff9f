"""What is there of a ChunkJob: what was made for it in Kubernetes, and what the queue says."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gristmill.api.chunkjob import ChunkJob
from gristmill.api.manifest import load_manifest
from gristmill.api.names import API_VERSION, KIND, ConditionType, Reason
from gristmill.errors import ManifestError
from gristmill.planning.progress import Sample, State
from gristmill.protocol.job import JobContext
from gristmill.reconcilers.worker_job import WORK

#: fields of a spec that are taken over while a job runs, whatever is wrong with the others
_GOVERNING = ("workers", "suspend", "activeDeadlineSeconds", "ttlSecondsAfterFinished")


@dataclass(frozen=True)
class Observed:
    """What is there. Objects are as the API server has them."""

    resource: dict[str, Any]
    #: the Job with the name that the ChunkJob's has
    job: dict[str, Any] | None = None
    pods: Sequence[dict[str, Any]] = ()
    #: seconds since the Secret was made or seen to be there; infinity where it was not looked for yet
    secret_age: float = 0.0
    #: newest first: (reason, message) of warnings about what `unexplained` names
    warnings: Sequence[tuple[str, str]] = ()
    #: whether the queue answers
    queue_answers: bool = True
    #: what the queue says of the job; None where it does not know it
    told: dict[str, Any] | None = None
    #: whether the queue knows the job's user
    has_user: bool = True
    samples: Sequence[Sample] = ()
    #: an object that is somebody else's and has a name that this job needs, in words; "" where there is none
    taken: str = ""
    #: why the API server refused what was to be done, ""
    refused: str = ""
    #: why the queue, which answers, refused what was to be done, ""
    queue_refuses: str = ""


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
    if job.spec.reduce and not job.spec.output:
        raise ManifestError(
            ["spec.output.url: is needed on a cluster with a reduce: a place that all workers reach"]
        )
    url = job.spec.output.url if job.spec.output else ""
    return JobContext(
        manifest=job.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"status"}),
        base=WORK,
        output=url if not url or "://" in url or url.startswith("/") else f"{WORK}/{url}",
        code_version="",
        generation=int(resource["metadata"].get("generation") or 0),
    )


def right_part_of(resource: dict[str, Any]) -> ChunkJob:
    """Return what is right in a wrong spec of the number of workers and of times; the rest means nothing."""
    spec: dict[str, Any] = {"input": {"range": {"stop": 1}}, "process": {"function": "math:sqrt"}}
    for field in _GOVERNING:
        if field in resource["spec"]:
            with suppress(ManifestError):
                _load("job", {**spec, field: resource["spec"][field]})
                spec[field] = resource["spec"][field]
    return _load("job", spec)


def _load(name: str, spec: dict[str, Any]) -> ChunkJob:
    return load_manifest({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec})
