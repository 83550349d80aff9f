"""The chores: work for the job itself, done in a child with the job's own credentials, under a lease."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson

from gristmill.errors import GristmillError, InputError, OutputError, PartsMissing
from gristmill.planning.plan import Plan
from gristmill.planning.recovery import what_is_left
from gristmill.planning.values import DeadLetter
from gristmill.protocol.client import Queue
from gristmill.protocol.job import JobContext
from gristmill.sinks import Sink, is_intact, load_plan, open_sink, read_manifest, save_plan
from gristmill.sources import make_plan
from gristmill.worker.loaded_code import check_code

_ASSEMBLE = "assemble:"


@dataclass(frozen=True, slots=True)
class ChoreFailure:
    """Why a chore failed, in the words of a condition; `missing` chunks have to run again."""

    reason: str
    message: str
    final: bool
    missing: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Failures:
    """What a chore must know of the job's failures, and no more: letters and split chunks are those of its block."""

    letters: list[DeadLetter] = field(default_factory=list)
    #: split chunks with their numbers of items
    fragments: dict[int, int] = field(default_factory=dict)
    #: dead letters of the whole job
    total: int = 0

    def to_wire(self) -> tuple[Any, ...]:
        """Return the form that is sent to a child."""
        return [asdict(letter) for letter in self.letters], self.fragments, self.total

    @classmethod
    def from_wire(cls, told: list[Any]) -> Failures:
        """Read what `to_wire` returned."""
        return cls([DeadLetter(**letter) for letter in told[0]], told[1], told[2])


def failures_for(chore: str, queue: Queue) -> Failures:
    """Ask the queue what a chore must know."""
    if chore == "finish":
        return Failures(total=queue.dead_count())
    if chore.startswith(_ASSEMBLE):
        bounds = queue.block_range(block_of(chore))
        return Failures(list(queue.dead_letters(*bounds)), queue.fragments(*bounds))
    return Failures()


def block_of(chore: str) -> int:
    """Return the block that a chore assembles."""
    return int(chore.removeprefix(_ASSEMBLE))


def plan_job(
    context: JobContext, combine: Callable[[Any, Any], Any] | None, code: dict[str, str]
) -> dict[str, Any]:
    """Make the plan, or take up the one in the output with all that is finished there; see `lua/chores.lua`.

    CodeChanged where that was made with other `code` than this process has loaded.
    """
    spec = context.job.spec
    found = load_plan(context.output) if context.output else None
    if found:
        plan = replace(found, work_digest=context.work_digest)
    else:
        plan = make_plan(spec, context.base, context.work_digest)
    if context.output:
        plan = save_plan(context.output, plan, on_cluster=context.on_cluster)
        check_code(context, code)
    # what a chunk gives is known only where it gives a result an item
    items = -1 if plan.items is None or spec.process.each == "chunk" else plan.items
    data: dict[str, Any] = {
        "digest": plan.digest,
        "chunks": plan.chunks,
        "items": items,
        "blocks": plan.blocks,
        "block_height": plan.block_height,
        **context.tolerance(plan.chunks, items),
        "plan": plan.to_json().decode(),
        "chunk_items": plan.chunk_items,
        "last_chunk_items": plan.last_chunk_items,
    }
    if found:
        left = data["recovered"] = _recovered(sink_of(context, plan, combine), plan)
        manifest = None if left["pieces"] or left["assemble"] else read_manifest(context.output)
        if manifest and manifest.plan == plan.digest and is_intact(context.output, manifest):
            data["finished"] = {"digest": manifest.digest, "items": manifest.items, "bytes": manifest.size}
    return data


def assemble(sink: Sink, block: int, failures: Failures) -> dict[str, Any]:
    """Make a final block of its parts. A dead item in a chunk that was never split is that chunk's only one."""
    alone = {letter.chunk: 1 for letter in failures.letters if letter.item >= 0}
    sink.assemble(block, failures.letters, alone | failures.fragments)
    return {}


def finish(sink: Sink, dead_total: int) -> dict[str, Any]:
    """Write the manifest."""
    finished = sink.finish(dead_total)
    return {"digest": finished.digest, "items": finished.items, "bytes": finished.bytes}


def clean(sink: Sink) -> dict[str, Any]:
    """Remove what is staged: the job is given up."""
    sink.remove_staged()
    return {}


def sink_of(context: JobContext, plan: Plan, combine: Callable[[Any, Any], Any] | None) -> Sink:
    """Open the job's output."""
    output = context.job.spec.output
    form, extension = (output.format, output.extension) if output else ("jsonl", "txt")
    return open_sink(
        context.output, form, extension, plan, combine, durable=context.job.spec.durability == "always"
    )


def failure_of(error: BaseException, chore: str) -> ChoreFailure:
    """Return what to tell the queue of an exception: which are final, which may pass."""
    if isinstance(error, PartsMissing):
        return ChoreFailure("PartsMissing", str(error), False, error.missing)
    if isinstance(error, InputError):
        return ChoreFailure(type(error).__name__, str(error), True, [])
    if isinstance(error, OutputError):
        return ChoreFailure("OutputFailed", str(error), chore == "plan", [])
    if isinstance(error, GristmillError):
        return ChoreFailure(type(error).__name__, str(error), True, [])
    text = "".join(traceback.format_exception(error))[-2000:]
    return ChoreFailure("ChoreFailed", f"{chore}: {type(error).__name__}: {error}\n{text}", False, [])


def _recovered(sink: Sink, plan: Plan) -> dict[str, Any]:
    found = sink.recover()
    dead = [(letter, orjson.dumps(letter).decode()) for letter in found.dead]
    return what_is_left(plan, found.complete_blocks, found.done, found.items, dead, found.split)
