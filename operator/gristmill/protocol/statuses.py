"""What the queue says of jobs: of many at a time, and of none more than its keys can be believed."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack
from redis import Redis
from redis.exceptions import ResponseError

from gristmill.protocol.keys import keys_of
from gristmill.protocol.refusals import knows_no_job, lacks_functions, refusal_of, will_pass

#: jobs that are asked about in one round trip
_BATCH = 50
#: what a job of the queue may be
_PHASES = ("planning", "running", "complete", "failed", "removing", "removed")
_ENDED = _PHASES[2:]
#: its fields: counts, times (ms), and text
_COUNTS = (
    *("epoch", "chunks", "settled", "items_done", "items_dead", "dead", "chunks_failed", "retried", "open"),
    *("generation", "tolerated"),
)
_TIMES = ("created", "planned", "finished")
_TEXTS = (
    *("phase", "name", "reason", "message", "suspended", "sink", "output", "spec_digest", "digest"),
    "output_digest",
)
_NEEDED = ("phase", "name", "epoch", "created")
#: what is counted beside them
_FOUND = ("alive", "leased", "pending", "delayed", "chores", "ready")
#: how a number is written that Lua reads, too; the last whole one that is exact there; an end of all times (ms)
_DIGITS = re.compile("-?[0-9]+")
_MOST = 2**53
_LATEST = 10**14
#: letters that the reason of a condition may have
_REASON = 1024
#: letters of an error that are shown
_SAID = 1000
#: why a job has failed whose keys are not what they should be
DAMAGED = "QueueDamaged"


def told_by(reply: bytes) -> dict[str, Any]:
    """Return an answer of the library's `status` as `lua/inspect.lua` describes it, with text as str."""
    told: dict[str, Any] = msgpack.unpackb(reply, strict_map_key=False, unicode_errors="replace")
    workers = told["workers"] or {}  # an empty table of Lua is a list
    return {"alive": len(workers), **told, "workers": workers}


def statuses(client: Redis, jobs: Sequence[str]) -> dict[str, dict[str, Any] | None]:
    """Return what is `believed` of many jobs, not repeated; None where the queue does not know one."""
    found: dict[str, dict[str, Any] | None] = {}
    for first in range(0, len(jobs), _BATCH):
        found |= _some(client, jobs[first : first + _BATCH])
    return found


def _some(client: Redis, jobs: Sequence[str]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    pipeline = client.pipeline(transaction=False)
    for job in jobs:
        keys = keys_of(job)
        pipeline.fcall_ro("gristmill_status", len(keys), *keys, "brief")
    for job, reply in zip(jobs, pipeline.execute(raise_on_error=False), strict=True):
        if isinstance(reply, ResponseError) and knows_no_job(reply):
            yield job, None
        elif isinstance(reply, ResponseError) and lacks_functions(reply):
            raise refusal_of(reply)
        elif isinstance(reply, ResponseError) and not will_pass(reply):
            yield job, _damaged(str(reply))
        elif isinstance(reply, Exception):
            raise reply
        else:
            yield job, believed(told_by(reply))


def believed(told: dict[str, Any]) -> dict[str, Any]:
    """Return what decides about a job, where that can be so: a job writes what it likes to its own keys."""
    try:
        job = {
            field: told["job"][field]
            for field in (*_COUNTS, "items", *_TIMES, *_TEXTS)
            if field in told["job"]
        }
        _check_job(job)
        for field in _FOUND:
            if type(told[field]) is not int or not 0 <= told[field] <= _MOST:
                raise ValueError(f"{field} is no count")
        due = told.get("due")
        if due is not None and not (type(due) in (int, float) and math.isfinite(due) and 0 <= due < _LATEST):
            raise ValueError("due is no time")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return _damaged(str(error))
    found = {field: told[field] for field in _FOUND}
    return {"job": job, **found, "due": due, "now": told["now"]}


def _check_job(job: dict[str, Any]) -> None:
    """Raise ValueError where the fields of a job are not what they should be."""
    for field in _NEEDED:
        if not job.get(field):
            raise ValueError(f"{field} is missing")
    for field in (*_COUNTS, "items", *_TIMES):
        low, high = -1 if field == "items" else 0, _LATEST - 1 if field in _TIMES else _MOST
        if not _DIGITS.fullmatch(job.get(field, "0")) or not low <= int(job.get(field, 0)) <= high:
            raise ValueError(f"{field} is no number that it can be")
    if job["phase"] not in _PHASES:
        raise ValueError("it has no phase")
    if not int(job["created"]) or (job["phase"] in _ENDED and not int(job.get("finished", 0))):
        raise ValueError("it never began, or has ended at no time")
    if job.get("planned") and not (int(job["planned"]) and "chunks" in job):
        raise ValueError("it was planned, and has no chunks")
    if int(job.get("settled", 0)) > int(job.get("chunks", 0)):
        raise ValueError("more chunks are settled than there are")
    if len(job.get("reason", "")) > _REASON:
        raise ValueError("reason is too long")


def _damaged(what: str) -> dict[str, Any]:
    """Return the answer of a job whose keys are not what they should be: it has failed now, and no other job has."""
    message = f"the job's keys in the queue are damaged: {what[:_SAID]}"
    now = int(time.time() * 1000)
    job = {"phase": "failed", "name": "", "reason": DAMAGED, "message": message}
    job |= {"created": str(now), "finished": str(now)}
    return {"job": job, **dict.fromkeys(_FOUND, 0), "due": None, "now": now}
