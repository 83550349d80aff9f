"""ChunkJob, the custom resource: what is to be done, as one value that is right or was refused.

Its parts are in `inputs` (what is worked on) and `status` (how far it is); this module has how it is done.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gristmill.api import source as source_text
from gristmill.api.inputs import ChunksSpec, InputSpec
from gristmill.api.metadata import Metadata
from gristmill.api.rules import Model, Rule, exactly_one, matches, refusal
from gristmill.api.scalars import (
    Bytes,
    Count,
    ExceptionName,
    Flag,
    ReduceReference,
    Reference,
    Seconds,
    SomeSeconds,
    Tally,
    Tolerance,
    Url,
    between,
)
from gristmill.api.status import ChunkJobStatus
from gristmill.api.template import ObjectName, WorkerTemplate

Requirement = Annotated[
    str,
    Field(max_length=512),
    matches(r"[A-Za-z0-9][^\x00-\x1f\x7f]*", "must be a requirement as pip takes it, for example pandas>=2"),
    Rule("must have no options of pip", "!self.contains(' -')", lambda text: " -" not in text),
]
#: where process.modules are
_AT_WORK = "^/+work/*$"
ImageName = Annotated[
    str,
    Field(max_length=512),
    matches(
        r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", "must be the name of an image, for example example.com/team/job:1"
    ),
]

#: processes that a worker may have
MOST_PROCESSES = 256


class ProcessSpec(Model):
    """The work: exactly one of function, class and source."""

    function: Reference | None = Field(None, description="A function that can be imported: module:callable.")
    class_: Reference | None = Field(
        None,
        alias="class",
        description="A class that can be imported, module:Class; built once in a worker process.",
    )
    source: source_text.Source | None = Field(
        None, description="Python text that defines `process`, or exactly one public function."
    )
    each: Literal["item", "chunk"] = Field(
        "item", description="What a call gets: an item, or a chunk's items."
    )
    memory_bytes: Annotated[Bytes, between("16Mi", "1Pi")] | None = Field(
        None, description="The memory that a worker process may use, such as 512Mi; beyond it the item fails."
    )
    modules: ObjectName | None = Field(
        None, description="On a cluster: a ConfigMap of Python modules, found before all others."
    )
    pip: list[Requirement] = Field(
        default_factory=list,
        max_length=100,
        description="Requirements: installed when a worker starts on a cluster, looked for elsewhere.",
    )

    rules = (exactly_one("function", "class", "source"),)


class ReduceSpec(Model):
    """One result for the whole job, combined from all others."""

    function: ReduceReference = Field(
        description="An associative function of two results: module:callable, or defined in process.source."
    )


class OutputSpec(Model):
    """Where results are written."""

    url: Annotated[
        Url,
        Rule(
            "must be a place that can be written to and keeps it: a path, file://, s3:// and the like",
            "!self.matches(r'^(https?|data|memory)://|://.*::|::.*://')",
            lambda url: not re.search(r"^(https?|data|memory)://|://.*::|::.*://", url),
        ),
    ] = Field(description="URL or path of a folder.")
    format: Literal["jsonl", "files"] = Field("jsonl", description="JSON lines, or a file a chunk.")
    extension: Annotated[
        str,
        Field(max_length=32),
        matches(r"[A-Za-z0-9][A-Za-z0-9._-]*", "must be a file extension, for example csv"),
    ] = Field("txt", description="Ending of the files' names; for format files only.")

    rules = (
        Rule(
            "is for format files only; remove it, or write format: files",
            "self.format == 'files' || self.extension == 'txt'",
            lambda spec: spec.format == "files" or spec.extension == "txt",
            at="extension",
        ),
    )


class WorkersSpec(Model):
    """Who does the work."""

    min: Annotated[int, Field(strict=True, ge=0, le=10_000)] = Field(
        0, description="On a cluster: workers that stay while nothing can be leased."
    )
    max: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = Field(
        None, description="The largest number of workers at a time."
    )
    processes: Annotated[int, Field(strict=True, ge=1, le=MOST_PROCESSES)] = Field(
        1, description="Processes in a worker."
    )
    lease_seconds: Annotated[float, Field(strict=True, ge=1, le=3600, allow_inf_nan=False)] = Field(
        15, description="A worker that is silent for this long loses its chunks to others."
    )
    image: ImageName | None = Field(
        None, description="On a cluster: the image, built on Gristmill's; without it, that itself."
    )
    template: WorkerTemplate = Field(
        WorkerTemplate(), description="On a cluster: what is different about the workers' pods."
    )

    rules = (
        Rule(
            "must be at most max",
            "!has(self.min) || !has(self.max) || self.min <= self.max",
            lambda spec: spec.max is None or spec.min <= spec.max,
            at="min",
        ),
    )


class RetrySpec(Model):
    """What happens before a chunk is given up."""

    attempts: Annotated[int, Field(strict=True, ge=1, le=1000)] = Field(
        3, description="How often a chunk may fail by its own fault."
    )
    infrastructure: Annotated[int, Field(strict=True, ge=1, le=1000)] = Field(
        20, description="How often a chunk's worker may be lost, which is not the chunk's fault."
    )
    backoff_seconds: Seconds = Field(1, description="The wait after the first failure; it doubles with each.")
    backoff_max_seconds: Seconds = Field(60, description="The longest wait.")
    timeout_seconds: SomeSeconds | None = Field(
        None, description="A chunk that runs longer is stopped, and has failed."
    )
    final_exceptions: list[ExceptionName] = Field(
        default_factory=list, max_length=100, description="Exceptions that are final, by class name."
    )

    rules = (
        Rule(
            "must be at least backoffSeconds",
            "!has(self.backoffMaxSeconds) || self.backoffMaxSeconds >= self.backoffSeconds",
            lambda spec: spec.backoff_max_seconds >= spec.backoff_seconds,
            at="backoffMaxSeconds",
        ),
    )


class FailuresSpec(Model):
    """How many items may fail, and what is kept of them."""

    tolerated: Tolerance = Field(0, description="Items that may fail: a number, or a percentage such as 5%.")
    isolate: Flag = Field(True, description="Halve a failing chunk until its bad items stand alone.")
    keep: Annotated[int, Field(strict=True, ge=1, le=10_000)] = Field(
        1000, description="Failures of which traceback and input are kept."
    )

    def allowed(self, items: int) -> int:
        """Return how many of so many items may fail."""
        if isinstance(self.tolerated, int):
            return self.tolerated
        return int(items * float(self.tolerated.removesuffix("%")) / 100)


class ChunkJobSpec(Model):
    """What is to be done."""

    input: InputSpec
    chunks: ChunksSpec = ChunksSpec()
    process: ProcessSpec
    reduce: ReduceSpec | None = None
    output: OutputSpec | None = None
    workers: WorkersSpec = WorkersSpec()
    retry: RetrySpec = RetrySpec()
    failures: FailuresSpec = FailuresSpec()
    durability: Literal["everysec", "always"] = Field(
        "everysec", description="What a crash of the queue may take: the last second's commits, or nothing."
    )
    coordination: Flag = Field(
        False,
        description="Let the function use gristmill.coordination. On a cluster whoever writes this must be allowed to "
        "get, list, watch, create, patch and delete leases and configmaps.",
    )
    accept_code: Flag = Field(
        False,
        description="Go on although the function's code has changed since the job was planned; results are of both.",
    )
    suspend: Flag = Field(False, description="Start no chunk while this is true.")
    active_deadline_seconds: Count | None = Field(None, description="The job fails when it runs longer.")
    ttl_seconds_after_finished: Tally | None = Field(
        None, description="On a cluster: the job is deleted so long after its end."
    )

    rules = (
        Rule(
            "is not for lines, which are counted by reading only; use bytes or count",
            "!(has(self.input.lines) && has(self.chunks.size))",
            lambda spec: spec.input.lines is None or spec.chunks.size is None,
            at="chunks.size",
        ),
        Rule(
            "is for lines only; use size or count",
            "has(self.input.lines) || !has(self.chunks.bytes)",
            lambda spec: spec.input.lines is not None or spec.chunks.bytes is None,
            at="chunks.bytes",
        ),
        Rule(
            "must be jsonl where there is a reduce, whose result is one value",
            "!(has(self.reduce) && has(self.output) && self.output.format == 'files')",
            lambda spec: spec.reduce is None or spec.output is None or spec.output.format != "files",
            at="output.format",
        ),
        Rule(
            "must be written as module:name where process has no source",
            "!has(self.reduce) || self.reduce.__function__.contains(':') || has(self.process.source)",
            lambda spec: spec.reduce_name is None or spec.process.source is not None,
            at="reduce.function",
        ),
        Rule(
            "is not defined in process.source",
            "!has(self.reduce) || self.reduce.__function__.contains(':') || !has(self.process.source) || "
            "self.process.source.contains(self.reduce.__function__)",
            lambda _: True,  # below it is told more exactly
            at="reduce.function",
        ),
        Rule(
            "must leave /work to process.modules, which are mounted there",
            "!has(self.process.modules) || !has(self.workers.template.volumeMounts) || "
            f"!self.workers.template.volumeMounts.exists(mount, mount.mountPath.matches('{_AT_WORK}'))",
            lambda spec: (
                spec.process.modules is None
                or not any(re.search(_AT_WORK, m.mount_path) for m in spec.workers.template.volume_mounts)
            ),
            at="workers.template.volumeMounts",
        ),
        Rule(
            "must be left out where coordination is true, for which the job gets a service account of its own",
            "!has(self.coordination) || !self.coordination || !has(self.workers.template.serviceAccountName)",
            lambda spec: not spec.coordination or spec.workers.template.service_account_name is None,
            at="workers.template.serviceAccountName",
        ),
    )

    @property
    def reduce_name(self) -> str | None:
        """The name of the reducing function where it is defined in process.source."""
        return self.reduce.function if self.reduce and ":" not in self.reduce.function else None

    @model_validator(mode="after")
    def _source_defines_what_is_called(self) -> Self:
        if self.process.source is None:
            return self
        names = source_text.defined(self.process.source)
        if self.reduce_name and self.reduce_name not in names.bound:
            raise refusal(("reduce.function", f"{self.reduce_name} is not defined in process.source"))
        try:
            source_text.entry_point(self.process.source, self.reduce_name)
        except ValueError as error:
            raise refusal(("process.source", str(error))) from None
        return self


class ChunkJob(Model):
    """Runs one function over a mountain of data, in chunks, and loses nothing."""

    api_version: Literal["gristmill.dev/v1alpha1"]
    kind: Literal["ChunkJob"]
    metadata: Metadata
    spec: ChunkJobSpec
    status: ChunkJobStatus | None = None
