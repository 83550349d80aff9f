"""What the queue says of jobs: of many in one round trip, and of none more than its keys can be believed."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import msgpack
from redis import Redis
from redis.exceptions import ResponseError

from gristmill.protocol.keys import keys_of
from gristmill.protocol.refusals import NoSuchJob, refusal_of, will_pass

#: what a job of the queue may be, and which of its fields are numbers
_PHASES = ("planning", "running", "complete", "failed", "removing", "removed")
_NUMBERS = (
    *("epoch", "chunks", "items", "settled", "items_done", "items_dead", "dead", "chunks_failed", "retried"),
    *("open", "cursor", "created", "planned", "finished", "tolerated", "generation"),
)
#: a number of a job: digits (as Lua reads them, too), and at most as many as a time (ms) of today has, and one more
_NUMBER = re.compile("-?[0-9]{1,16}")
#: why a job has failed whose keys are not what they should be
DAMAGED = "QueueDamaged"


def told_by(reply: bytes) -> dict[str, Any]:
    """Return an answer of the library's `status` as `lua/inspect.lua` describes it, with text as str."""
    told: dict[str, Any] = msgpack.unpackb(reply, strict_map_key=False, unicode_errors="replace")
    return {**told, "workers": told["workers"] or {}}  # an empty table of Lua is a list


def statuses(client: Redis, jobs: Sequence[str]) -> dict[str, dict[str, Any] | None]:
    """Return `Queue.status` of many jobs in one round trip, not repeated; None where the queue does not know one."""
    pipeline = client.pipeline(transaction=False)
    for job in jobs:
        keys = keys_of(job)
        pipeline.fcall_ro("gristmill_status", len(keys), *keys)
    found: dict[str, dict[str, Any] | None] = {}
    for job, reply in zip(jobs, pipeline.execute(raise_on_error=False), strict=True):
        if isinstance(reply, ResponseError) and isinstance(refusal_of(reply), NoSuchJob):
            found[job] = None
        elif isinstance(reply, ResponseError) and not will_pass(reply):
            found[job] = _damaged(str(reply))
        elif isinstance(reply, Exception):
            raise reply
        else:
            found[job] = _checked(told_by(reply))
    return found


def _checked(told: dict[str, Any]) -> dict[str, Any]:
    """Return an answer in which numbers are numbers: a job can write what it likes to its own keys."""
    try:
        for field in _NUMBERS:
            if not _NUMBER.fullmatch(told["job"].get(field) or "0"):
                raise ValueError(f"{field} is no number")
        if told["job"]["phase"] not in _PHASES or not isinstance(told["workers"], dict):
            raise ValueError("it has no phase, or no workers")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return _damaged(str(error))
    return told


def _damaged(what: str) -> dict[str, Any]:
    """Return the answer of a job whose keys are not what they should be: it has failed now, and no other job has."""
    message = f"the job's keys in the queue are damaged: {what}"
    now = int(time.time() * 1000)
    job = {"phase": "failed", "name": "", "reason": DAMAGED, "message": message}
    job |= {"created": str(now), "finished": str(now)}
    numbers = dict.fromkeys(("leased", "pending", "delayed", "chores", "ready"), 0)
    return {"job": job, "workers": {}, "now": now, **numbers}
