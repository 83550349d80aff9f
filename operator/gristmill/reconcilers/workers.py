"""How many workers a job should have now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gristmill.api.chunkjob import ChunkJob

#: seconds in which workers end by themselves when the job has: their pods, and so their logs, stay
_END_SECONDS = 4.0
#: a retry that is due sooner (seconds) is not worth stopping workers for
_SOON_SECONDS = 20.0


@dataclass(frozen=True)
class Present:
    """The workers that there are: asked for, and pods that have not ended."""

    asked: int
    alive: int
    #: whether Kueue decides when they run: another number is another Job, which is queued again
    queued: bool = False


def wanted_workers(
    job: ChunkJob, told: dict[str, Any] | None, workers: Present, default: int, now: float
) -> tuple[int, float | None]:
    """Return the number of workers, and in how many seconds to ask again (None: when something changes).

    `told` is what the queue says, `default` the most where the job does not say. It falls only to zero (or
    `workers.min`), where nothing can be leased, for Kubernetes would stop any. Under Kueue it is all or none.
    """
    present = workers.asked
    spec = job.spec
    most = spec.workers.max or default
    if spec.suspend:
        return 0, None
    if told is None:
        return present or min(most, _expected_chunks(job, most)), None
    phase = told["job"]["phase"]
    if phase == "removing":
        return (present if present and workers.queued else 1), None
    if phase not in ("planning", "running"):
        ended = now - int(told["job"].get("finished") or 0) / 1000
        if phase != "removed" and present and workers.alive and ended < _END_SECONDS:
            return present, 0.5
        return 0, None
    full = min(most, max(present, _expected_chunks(job, most)))
    if phase == "planning":
        return full, None
    wanted, again = _by_backlog(job, told, present, most, now)
    return (max(wanted, full) if wanted and workers.queued else wanted), again


def _by_backlog(
    job: ChunkJob, told: dict[str, Any], present: int, most: int, now: float
) -> tuple[int, float | None]:
    """Return the number of workers of a job that is planned, by what there is to lease."""
    spec = job.spec
    if told["ready"] or told["leased"] or told["chores"]:
        left = int(told["job"].get("open") or 0) + int(told["leased"])
        slots = spec.workers.processes
        enough = min(most, max(1, -(-left // slots)))
        return (most if present > most else max(present, enough)), None
    wait = (told.get("due") or 0) / 1000 - now if told.get("due") else None
    if wait is not None and wait < _SOON_SECONDS:
        return max(present, 1), max(wait, 0.1)
    return min(spec.workers.min, most), (wait - 5 if wait is not None else None)


def _expected_chunks(job: ChunkJob, most: int) -> int:
    """Return how many chunks the input has at the most, where that is known without reading it."""
    given, chunks = job.spec.input, job.spec.chunks
    items = len(given.items) if given.items is not None else given.range.count if given.range else None
    if items is None:
        return most if chunks.count is None else chunks.count
    if chunks.count is not None:
        items = min(items, chunks.count)
    elif chunks.size is not None:
        items = -(-items // chunks.size)
    return max(1, -(-items // job.spec.workers.processes))
