"""What is shown of a ChunkJob: its state and its conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from gristmill.api.names import ConditionType, Reason
from gristmill.client.status import status_of
from gristmill.planning.progress import State
from gristmill.protocol.job import JobContext
from gristmill.reconcilers.objects import is_young
from gristmill.reconcilers.observed import Observed, has_ended
from gristmill.reconcilers.obstacles import crashes_of, obstacle_of, waits_for_collection
from gristmill.reconcilers.times import text_of


def status(observed: Observed, context: JobContext, now: float) -> dict[str, Any]:
    """Return the status of a ChunkJob whose spec is as it should be."""
    old = observed.resource.get("status") or {}
    told = observed.told
    if told is None:
        if has_ended(observed):
            return old
        reason = Reason.STARTING if observed.queue_answers else Reason.QUEUE_UNREACHABLE
        message = "" if observed.queue_answers else "the queue does not answer; what runs goes on"
        if observed.queue_refuses:
            reason, message = Reason.REFUSED, observed.queue_refuses
        elif taken := _taken(observed, now):
            reason, message = taken
        conditions = [_condition(ConditionType.PROGRESSING, False, reason, message, now)]
        # (it has not ended: a state that says so is of a spec that was wrong, and has been put right)
        state = old.get("state")
        shown = {**old, "state": str(State.PENDING) if state in (None, State.FAILED) else state}
    else:
        shown = status_of(told, observed.samples, context.output)
        del shown["name"]
        conditions = shown["conditions"]
        changed = _changed(told, context)
        if obstacle := _obstacle(observed, told, now):
            conditions = [c for c in conditions if c["type"] != ConditionType.PROGRESSING]
            conditions.append(_condition(ConditionType.PROGRESSING, False, *obstacle, now))
        if changed:
            conditions.append(
                _condition(ConditionType.SPEC_CHANGED, True, Reason.NOT_TAKEN_OVER, changed, now)
            )
    return {**shown, "conditions": _kept(old, conditions, context.generation)}


def status_when_wrong(observed: Observed, message: str, now: float) -> dict[str, Any]:
    """Return the status of a ChunkJob whose spec is wrong: it has failed, or goes on with the former one."""
    told, old = observed.told, observed.resource.get("status") or {}
    generation = int(observed.resource["metadata"].get("generation") or 0)
    if told is None:
        refused = _condition(ConditionType.FAILED, True, Reason.INVALID_SPEC, message, now)
        return {"state": str(State.FAILED), "conditions": _kept(old, [refused], generation)}
    status = status_of(told, observed.samples, told["job"].get("output") or "")
    del status["name"]
    shown = _condition(ConditionType.SPEC_CHANGED, True, Reason.NOT_TAKEN_OVER, message, now)
    return {**status, "conditions": _kept(old, [*status["conditions"], shown], generation)}


def _obstacle(observed: Observed, told: dict[str, Any], now: float) -> tuple[str, str] | None:
    """Return (reason, message) of what keeps the job from going on."""
    if not observed.queue_answers:
        return Reason.QUEUE_UNREACHABLE, "the queue does not answer; what runs goes on"
    if has_ended(observed):
        return None
    if observed.queue_refuses:
        return Reason.REFUSED, observed.queue_refuses
    if waits_for_collection(told):
        name = observed.resource["metadata"]["name"]
        message = f"the queue is full of results: `gristmill results {name} --take` fetches them"
        return Reason.AWAITING_COLLECTION, message
    if crashes := crashes_of(observed.job, observed.pods, now):
        return Reason.WORKERS_CRASH, crashes
    if told["workers"]:
        return None
    return obstacle_of(observed.job, observed.pods, observed.warnings) or _taken(observed, now)


def _taken(observed: Observed, now: float) -> tuple[Reason, str] | None:
    """Return that the API server refuses what is to be made, or that its name is somebody else's."""
    if observed.refused:
        quota = "exceeded quota" in observed.refused
        return (Reason.QUOTA_EXCEEDED if quota else Reason.REFUSED), observed.refused
    if not observed.taken or is_young(observed.resource["metadata"], now):
        return None
    return Reason.NAME_TAKEN, observed.taken


def _changed(told: dict[str, Any], context: JobContext) -> str:
    job = told["job"]
    same = job.get("spec_digest", context.spec_digest) == context.spec_digest
    if not same or job.get("output", context.output) != context.output:
        return (
            "input, chunks, process, reduce or output changed after the job began; it goes on with the former ones: "
            "delete it and apply it again"
        )
    others = _processes(told) - {context.job.spec.workers.processes}
    if others:
        return (
            f"workers.processes changed after the job began; it goes on with {min(others)} processes a worker: "
            "delete it and apply it again"
        )
    return ""


def _processes(told: dict[str, Any]) -> set[int]:
    """Return how many processes the workers say that they have; a job can write what it likes to its own keys."""
    found = set()
    for info in told["workers"].values():
        try:
            slots = orjson.loads(info)["slots"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
        if isinstance(slots, int):
            found.add(slots)
    return found


def _condition(kind: str, holds: bool, reason: str, message: str, now: float) -> dict[str, Any]:
    return {
        "type": str(kind),
        "status": "True" if holds else "False",
        "reason": str(reason),
        "message": message,
        "lastTransitionTime": text_of(now),
    }


def _kept(old: dict[str, Any], conditions: Sequence[dict[str, Any]], generation: int) -> list[dict[str, Any]]:
    """Return conditions with the times at which they came about; those that do not hold any more stay, as False."""
    former = {condition["type"]: condition for condition in old.get("conditions") or ()}
    kept = []
    for condition in conditions:
        before = former.pop(condition["type"], None)
        since = condition["lastTransitionTime"]
        if before and before["status"] == condition["status"]:
            since = before["lastTransitionTime"]
        kept.append({**condition, "lastTransitionTime": since, "observedGeneration": generation})
    if ConditionType.SUSPENDED in former and former[ConditionType.SUSPENDED]["status"] == "True":
        since = next((c["lastTransitionTime"] for c in conditions), None)
        kept.append(
            {
                **former[ConditionType.SUSPENDED],
                "status": "False",
                "reason": str(Reason.RESUMED),
                "lastTransitionTime": since,
                "observedGeneration": generation,
            }
        )
    elif ConditionType.SUSPENDED in former:
        kept.append(former[ConditionType.SUSPENDED])
    return kept
