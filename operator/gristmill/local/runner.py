"""Running a job here: check it, find out what an earlier run left, start a keeper, hand out the handle.

A run with a state folder is tied to it: another input or function never continues it silently. A run without
one (from Python) leaves nothing behind but its output, and goes on from the parts that it finds there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from gristmill.api.chunkjob import ChunkJob
from gristmill.api.manifest import load_manifest
from gristmill.client.run import Run
from gristmill.errors import UsageError
from gristmill.local.hosts import EndedHost, LiveHost
from gristmill.local.leftovers import take_over
from gristmill.local.state import State, StoredJob, shown
from gristmill.local.turns import take_run
from gristmill.planning.progress import State as JobState
from gristmill.protocol.job import JobContext
from gristmill.sinks import is_intact, known_code, load_plan, read_manifest, remove_output
from gristmill.sources import input_change, reads_folder, resolve
from gristmill.worker.loaded_code import code_here, in_words, other_module
from gristmill.worker.user_code import is_loading

Job = str | Path | dict[str, Any] | ChunkJob

#: parts of the spec that decide the output
_DECISIVE = ("input", "chunks", "process", "reduce", "output")
_WAYS_OUT = "--fresh starts anew, --state DIR keeps both"


def load(job: Job) -> tuple[ChunkJob, Path]:
    """Return the manifest as a model, and the folder that its relative paths start from."""
    if not isinstance(job, str | Path | dict | ChunkJob):
        raise UsageError(f"a job is a path, a text, a dict or a ChunkJob, got {job!r}")
    manifest = job if isinstance(job, ChunkJob) else load_manifest(job)
    if is_loading(manifest.spec):
        raise UsageError(
            "this is a worker, which loads the function of this very job: put the call of gristmill.run below "
            "`if __name__ == '__main__':`, or into another module"
        )
    is_file = isinstance(job, str | Path) and os.path.isfile(job)
    return manifest, Path(str(job)).absolute().parent if is_file else Path.cwd()


def start(
    manifest: ChunkJob,
    base: Path,
    state: State,
    workers: int | None,
    *,
    fresh: bool = False,
    accept_code: bool = False,
) -> Run:
    """Start a run in a state folder, or go on with the one that is there."""
    accept_code = accept_code or manifest.spec.accept_code
    size = _crew_size(manifest, workers)
    context = _context(manifest, base, str(state.output), accept_code)
    if url := _input_around(state, manifest, base):
        raise UsageError(f"{shown(state.folder)} is in the input {url}; choose another --state")
    state.make()
    taken_before, _ = state.runner_lock.last_holder()
    if holder := take_run(state):
        raise UsageError(
            f"{shown(state.folder)} is run by process {holder} already; stop it, or choose another --state"
        )
    try:
        if fresh:
            _clear(state, context)
        stored = state.load()
        if stored is None and not taken_before:
            state.clear()  # (it is what a run still wrote when its folder had been removed: see `Keeper.run`)
        job = StoredJob.of(context) if stored is None else _renewed(stored, context, accept_code)
        final = state.final_status()
        was_complete = final is not None and final["state"] == JobState.COMPLETE
        if final and was_complete and _is_kept(state, manifest, context, final["outputDigest"]):
            state.runner_lock.release()
            return Run(EndedHost(state, context), final)
        state.save(job)
        state.save_status(None)
        return Run(LiveHost(state, context, size))
    except BaseException:
        state.runner_lock.release()
        raise


def start_temporary(
    manifest: ChunkJob, base: Path, workers: int | None, fresh: bool, accept_code: bool
) -> Run:
    """Start a run without a state folder."""
    accept_code = accept_code or manifest.spec.accept_code
    size = _crew_size(manifest, workers)
    state = State(Path(tempfile.mkdtemp(prefix="gristmill-")))
    context = _context(manifest, base, str(state.output) if manifest.spec.reduce else "", accept_code)
    if fresh and context.output:
        remove_output(context.output)
    state.runner_lock.take()
    state.save(StoredJob.of(context))
    return Run(LiveHost(state, context, size, temporary=True))


def _input_around(state: State, manifest: ChunkJob, base: Path) -> str:
    """Return the input's URL where it means files of the state folder, which changes all the time; else ""."""
    given = manifest.spec.input.lines or manifest.spec.input.files
    return given.url if given and reads_folder(given.url, str(base), str(state.folder)) else ""


def _context(manifest: ChunkJob, base: Path, default_output: str, accept_code: bool) -> JobContext:
    output = manifest.spec.output
    url = output.url if output else default_output
    return JobContext(
        manifest=manifest.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"status"}),
        base=str(base),
        output=resolve(url, str(base)) if url else "",
        accept_code=accept_code,
    )


def _renewed(stored: StoredJob, context: JobContext, accept_code: bool) -> StoredJob:
    """Return the job with what may change changed; UsageError when it is not the same job any more."""
    former = stored.job_context()
    if former.work_digest != context.work_digest or former.output != context.output:
        old, new = former.manifest["spec"], context.manifest["spec"]
        changed = [name for name in _DECISIVE if old.get(name) != new.get(name)] or ["output"]
        raise UsageError(f"spec.{changed[0]} changed since this run began: {_WAYS_OUT}")
    plan = load_plan(context.output)
    known = known_code(context.output) if plan and plan.work_digest == context.work_digest else {}
    other = other_module(known, code_here(known, context.job.spec, context.base))
    if other and not accept_code:
        raise UsageError(
            f"{in_words(other)} is not the one that this run has: {_WAYS_OUT}, "
            "--accept-code goes on and mixes results of both (in Python accept_code=True)"
        )
    kept = replace(context, accept_code=accept_code)
    suspend_changed = former.job.spec.suspend != context.job.spec.suspend
    return replace(
        stored,
        context=StoredJob.of(kept).context,
        renewed=True,
        suspend_changed=stored.suspend_changed or suspend_changed,
    )


def _clear(state: State, context: JobContext) -> None:
    _end_former(state)
    stored = None
    with suppress(UsageError):  # (what can't be read is removed all the same)
        stored = state.load()
    for url in {context.output, stored.output if stored else context.output}:
        remove_output(url)
    state.clear()


def _end_former(state: State) -> None:
    """See that no keeper or server of an earlier run is left."""
    take_over(state)
    state.keeper_lock.release()


def _is_kept(state: State, manifest: ChunkJob, context: JobContext, digest: str) -> bool:
    """Whether a run that was complete still is; UsageError when it can't be completed again.

    Where the output is damaged, or no more of this `digest`, the queue, which counts it as done, is removed: it is made
    anew of what is there.
    """
    found, plan = read_manifest(context.output), load_plan(context.output)
    if plan is None:
        raise UsageError(f"this run was complete, but its output is gone from {context.output}: {_WAYS_OUT}")
    if change := input_change(manifest.spec, context.base, plan, context.output):
        raise UsageError(f"the input changed since this run was complete: {change}: {_WAYS_OUT}")
    if found and found.digest == digest and is_intact(context.output, found):
        return state.has_queue
    _end_former(state)
    shutil.rmtree(state.queue, ignore_errors=True)
    return False


def _crew_size(manifest: ChunkJob, workers: int | None) -> int:
    """Return how many workers to start: as many as asked for, else as the machine has processors for."""
    if workers is not None:
        if not isinstance(workers, int):
            raise UsageError(f"workers: must be a whole number, got {workers!r}")
        if workers < 1:
            raise UsageError(f"workers: {workers} are too few; a run needs at least one")
        return workers
    spec = manifest.spec.workers
    room = max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return max(1, min(room // spec.processes, spec.max or room))
