"""How a manifest becomes a job in the queue: the one place that knows which field is which parameter."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import orjson

from gristmill import settings
from gristmill.api.chunkjob import ChunkJob


@dataclass(frozen=True)
class JobContext:
    """All that a worker must know before there is a plan."""

    #: the manifest as JSON, by its own field names
    manifest: dict[str, Any]
    #: absolute folder that relative paths are resolved against, and where modules are looked for first
    base: str
    #: absolute URL of the output, or "" where results are kept in the queue
    output: str
    #: go on although the code is not the one that the job has
    accept_code: bool = False
    #: `metadata.generation` of the manifest, where a cluster counts it: which of its parameters the queue has
    generation: int = 0

    @cached_property
    def job(self) -> ChunkJob:
        """The manifest as a model."""
        return ChunkJob.model_validate(self.manifest)

    @property
    def name(self) -> str:
        """Name of the job."""
        return str(self.manifest["metadata"]["name"])

    @property
    def on_cluster(self) -> bool:
        """Whether the job is a resource on a cluster, and no run of the command line."""
        return self.generation > 0

    @cached_property
    def spec_digest(self) -> str:
        """sha256 (hex) of what a running job can't take over when it changes in the manifest."""
        return _digest(self._decisive())

    @cached_property
    def work_digest(self) -> str:
        """sha256 (hex) of what the work is, without its code, which has a version: other work has other parts."""
        decisive = self._decisive()
        if decisive["process"].get("source"):
            decisive["process"] = {**decisive["process"], "source": True}
        return _digest(decisive)

    def _decisive(self) -> dict[str, Any]:
        spec = self.manifest["spec"]
        parts = {name: spec.get(name) for name in ("input", "chunks", "process", "reduce")}
        parts["format"] = {k: v for k, v in (spec.get("output") or {}).items() if k != "url"}
        return parts

    def to_json(self) -> bytes:
        """Return the form that is kept in the queue."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> JobContext:
        """Read what `to_json` wrote."""
        return cls(**orjson.loads(data))

    def parameters(self) -> dict[str, str | int]:
        """Return the parameters of the queue that may change under a running job."""
        spec = self.job.spec
        return {
            "attempts": spec.retry.attempts,
            "infrastructure": spec.retry.infrastructure,
            "backoff_ms": round(spec.retry.backoff_seconds * 1000),
            "backoff_max_ms": round(spec.retry.backoff_max_seconds * 1000),
            "isolate": int(spec.failures.isolate),
            "keep": spec.failures.keep,
            "lease_ms": round(spec.workers.lease_seconds * 1000),
            "window": settings.WINDOW_BYTES,
            "suspended": int(spec.suspend),
            "generation": self.generation,
        }

    def tolerance(self, chunks: int, items: int) -> dict[str, str | int]:
        """Return the parameters that say how much may fail, of so many chunks and items (-1: nobody knows).

        A share is one of the items, or of the chunks where their number is not known; so are the failures counted.
        """
        failures = self.job.spec.failures
        of_chunks = items < 0 and isinstance(failures.tolerated, str)
        return {
            "tolerated": failures.allowed(chunks if items < 0 else items),
            "tolerates": "chunks" if of_chunks else "items",
        }

    def fields(self, epoch: int) -> dict[str, str | int | bytes]:
        """Return all fields that a new job begins with."""
        return {
            **self.parameters(),
            "epoch": epoch,
            "name": self.job.metadata.name,
            "spec_digest": self.spec_digest,
            "output": self.output,
            "sink": "url" if self.output else "queue",
            "spec": self.to_json(),
        }


def _digest(parts: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()
