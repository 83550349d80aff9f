"""A ChunkJob as the API server has it, what was made for it, and what the queue says of it."""

from __future__ import annotations

from typing import Any

from tests.builders import chunk_job

from gristmill.api.names import FINALIZER
from gristmill.reconcilers.actions import Decision
from gristmill.reconcilers.chunkjob import Settings, decide
from gristmill.reconcilers.observed import Observed, context_of
from gristmill.reconcilers.times import text_of
from gristmill.reconcilers.worker_job import Images, worker_job

NOW = 1_800_000_000.0
UID = "0b1e"
JOB_UID = "70b1"
SETTINGS = Settings(Images("worker:1"), default_workers=4)
URL = "redis://user:password@queue:6379/0"


def resource(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a ChunkJob that was just made, with its finalizer."""
    made = chunk_job(**spec)
    made["metadata"] |= {
        "namespace": "here",
        "uid": UID,
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": text_of(NOW - 10),
        "finalizers": [FINALIZER],
    }
    return made | ({"status": status} if status else {})


def told(phase: str = "running", workers: int = 2, **facts: Any) -> dict[str, Any]:
    """Return what the queue says; facts of the job, or of the answer where it has such a field."""
    answer = {
        "job": {
            "phase": phase,
            "name": "job",
            "epoch": "7",
            "chunks": "10",
            "settled": "4",
            "open": "4",
            "items": "10",
            "created": str(int((NOW - 9) * 1000)),
            "planned": str(int((NOW - 8) * 1000)),
            "generation": "1",
            "sink": "queue",
        },
        "alive": workers,
        "leased": 2,
        "pending": 1,
        "delayed": 0,
        "chores": 0,
        "ready": 4,
        "now": int(NOW * 1000),
    }
    if phase == "planning":
        for name in ("planned", "chunks", "settled", "open"):
            del answer["job"][name]  # type: ignore[attr-defined]
    if phase in ("complete", "failed"):
        answer["job"]["finished"] = str(int((NOW - 60) * 1000))  # type: ignore[index]
        answer |= {"leased": 0, "ready": 0}
    for name, value in facts.items():
        place = answer if name in answer or name == "due" else answer["job"]
        place[name] = value  # type: ignore[index]
    return answer


def job_of(found: dict[str, Any], parallelism: int = 2, **status: Any) -> dict[str, Any]:
    """Return the Job that was made for a ChunkJob."""
    made = worker_job(found["metadata"], context_of(found).job, SETTINGS.images, parallelism)
    made["metadata"]["uid"] = JOB_UID
    return made | {"status": status}


def pod(phase: str = "Running", name: str = "p", **more: Any) -> dict[str, Any]:
    """Return a pod in a phase; `more` is of its status, but `metadata`."""
    metadata = {"name": name, "ownerReferences": [{"uid": JOB_UID}]} | more.pop("metadata", {})
    return {"metadata": metadata, "status": {"phase": phase, **more}}


def observed(found: dict[str, Any], **facts: Any) -> Observed:
    """Return what is there."""
    return Observed(resource=found, **facts)


def decided(found: dict[str, Any], now: float = NOW, **facts: Any) -> Decision:
    """Return what is decided about a ChunkJob, with these facts of `Observed`."""
    return decide(Observed(resource=found, **facts), SETTINGS, URL, now)


def kinds(decision: Decision) -> list[str]:
    """Return the names of what is to be done."""
    return [type(action).__name__ for action in decision.actions]


def condition(decision: Decision, kind: str) -> dict[str, Any] | None:
    """Return a condition of the status that is to be shown."""
    assert decision.status is not None
    return next((c for c in decision.status["conditions"] if c["type"] == kind), None)
