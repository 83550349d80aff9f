"""What is shown of a ChunkJob: its state and its conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.api.names import ConditionType, Reason
from gristmill.api.status import MESSAGE_LETTERS
from gristmill.api.words import listed
from gristmill.client.status import status_of
from gristmill.planning.progress import State
from gristmill.protocol.job import JobContext
from gristmill.reconcilers.objects import is_young
from gristmill.reconcilers.observed import Observed, begun, former_workers, has_begun, has_ended
from gristmill.reconcilers.obstacles import crashes_of, obstacle_of, refusal_of, waits_for_collection
from gristmill.reconcilers.times import text_of
from gristmill.reconcilers.worker_job import belongs

#: what `SpecChanged` says where the work itself is another
OTHER_WORK = (
    "input, chunks, process, reduce or output changed after the job began, which is not taken over: "
    "change it back, or delete the ChunkJob and apply it again, with another output.url or an emptied one"
)


def status(observed: Observed, context: JobContext, now: float) -> dict[str, Any]:
    """Return the status of a ChunkJob whose spec is as it should be."""
    old, told = observed.resource.get("status") or {}, observed.told
    if told is not None:
        shown = _as_told(observed, told, context.output, now)
    elif has_ended(observed):
        return _without_former_edit(old, context.generation)
    else:
        why = _taken(observed, now) or _no_answer(observed) or (Reason.STARTING, _awaited(observed, context))
        shown = _untold(old, why, now)
    return {**shown, "conditions": _kept(old, shown["conditions"], context.generation)}


def status_when_wrong(observed: Observed, reason: Reason, message: str, now: float) -> dict[str, Any]:
    """Return the status of a ChunkJob whose spec is not taken over: it has failed, or goes on with the former one."""
    old, told = observed.resource.get("status") or {}, observed.told
    generation = int(observed.resource["metadata"].get("generation") or 0)
    if not has_begun(observed):
        refused = _condition(ConditionType.FAILED, True, reason, message, now)
        return {"state": str(State.FAILED), "conditions": _kept(old, [refused], generation)}
    if told is not None:
        shown = _as_told(observed, told, told["job"].get("output") or "", now)
        if _lacks_workers(observed, told):
            shown = _hindered(shown, reason, f"it can get no workers: {message}", now)
    elif has_ended(observed):
        return _with_edit(old, message, generation, now)
    else:
        lost = f"the queue has lost the job, and can't be told of it: {message}"
        shown = _untold(old, _no_answer(observed) or (reason, lost), now)
    conditions = [*shown["conditions"], _not_taken_over(message, now)]
    return {**shown, "conditions": _kept(old, conditions, generation)}


def status_when_removed(observed: Observed, message: str, now: float) -> dict[str, Any]:
    """Return the status of a ChunkJob that is deleted, and what that waits for."""
    old = observed.resource.get("status") or {}
    generation = int(observed.resource["metadata"].get("generation") or 0)
    removing = _condition(ConditionType.PROGRESSING, False, Reason.REMOVING, message, now)
    others = [c for c in old.get("conditions") or () if c["type"] != ConditionType.PROGRESSING]
    return {**old, "conditions": [*others, *_kept_alone(old, removing, generation)]}


def _as_told(observed: Observed, told: dict[str, Any], output: str, now: float) -> dict[str, Any]:
    """Return what the queue says of the job, and what is in its way."""
    shown = status_of(told, observed.samples, output)
    del shown["name"]
    if begun(observed.resource, told) < int(told["job"]["created"]) / 1000:
        shown["startTime"] = observed.resource["status"]["startTime"]
    obstacle = _obstacle(observed, told, now)
    return _hindered(shown, *obstacle, now) if obstacle else shown


def _hindered(shown: dict[str, Any], reason: str, message: str, now: float) -> dict[str, Any]:
    """Return the status of a job that doesn't go on, and why."""
    others = [c for c in shown["conditions"] if c["type"] != ConditionType.PROGRESSING]
    return {
        **shown,
        "conditions": [*others, _condition(ConditionType.PROGRESSING, False, reason, message, now)],
    }


def _lacks_workers(observed: Observed, told: dict[str, Any]) -> bool:
    """Whether a job that goes on in the queue has no workers and no Job of them, and wants one."""
    wanted = not has_ended(observed) and told["job"].get("suspended", "0") == "0" and observed.queue_answers
    return wanted and not told["alive"] and not belongs(observed.job, observed.resource["metadata"]["uid"])


def _untold(old: dict[str, Any], why: tuple[str, str], now: float) -> dict[str, Any]:
    """Return the former status of a job that has not ended, and why the queue does not know it."""
    # (a state that says that it has is of a spec that was wrong, and has been put right)
    state = old.get("state")
    shown = {**old, "state": str(State.PENDING) if state in (None, State.FAILED) else state}
    return {**shown, "conditions": [_condition(ConditionType.PROGRESSING, False, *why, now)]}


def _kept_alone(old: dict[str, Any], condition: dict[str, Any], generation: int) -> list[dict[str, Any]]:
    """Return one condition with the time at which it came about, and no other."""
    former = [c for c in old.get("conditions") or () if c["type"] == condition["type"]]
    return _kept({"conditions": former}, [condition], generation)


def _with_edit(old: dict[str, Any], message: str, generation: int, now: float) -> dict[str, Any]:
    """Return the status of a job that has ended, and that its spec has become wrong since."""
    conditions = old.get("conditions") or ()
    others = [c for c in conditions if c["type"] != ConditionType.SPEC_CHANGED]
    return {**old, "conditions": others + _kept_alone(old, _not_taken_over(message, now), generation)}


def _without_former_edit(old: dict[str, Any], generation: int) -> dict[str, Any]:
    """Return the status of a job that has ended: what was said of an earlier spec is not so any more."""
    conditions = [
        c
        for c in old.get("conditions") or ()
        if c["type"] != ConditionType.SPEC_CHANGED or c.get("observedGeneration", 0) >= generation
    ]
    return {**old, "conditions": conditions}


def _not_taken_over(message: str, now: float) -> dict[str, Any]:
    return _condition(ConditionType.SPEC_CHANGED, True, Reason.NOT_TAKEN_OVER, message, now)


def _obstacle(observed: Observed, told: dict[str, Any], now: float) -> tuple[str, str] | None:
    """Return (reason, message) of what keeps the job from going on."""
    if silence := _no_answer(observed):
        return silence
    if observed.refused:
        return refusal_of(observed.refused, Reason.REFUSED)
    if has_ended(observed):
        return None
    if observed.no_volumes:
        names = listed(observed.no_volumes, "and")
        message = f"there is no FileVolume {names} in this namespace, which the spec names: it waits for one"
        return Reason.NO_SUCH_VOLUME, message
    if waits_for_collection(told):
        name = observed.resource["metadata"]["name"]
        message = f"the queue is full of results: `gristmill results {name} --take` fetches them"
        return Reason.AWAITING_COLLECTION, message
    if crashes := crashes_of(observed.job, observed.pods, now):
        return Reason.WORKERS_CRASH, crashes
    if told["alive"]:
        return None
    return obstacle_of(observed.job, observed.pods, observed.warnings) or _taken(observed, now)


def _no_answer(observed: Observed) -> tuple[str, str] | None:
    """Return that the queue does not answer, or refuses what is to be done."""
    if not observed.queue_answers:
        return Reason.QUEUE_UNREACHABLE, "the queue does not answer; what runs goes on"
    return (Reason.REFUSED, observed.queue_refuses) if observed.queue_refuses else None


def _awaited(observed: Observed, context: JobContext) -> str:
    """Return what a job waits for that is to begin, and does not at once."""
    former = former_workers(observed, context.job)
    return f"it waits until former workers have ended: {listed(former, 'and')}" if former else ""


def _taken(observed: Observed, now: float) -> tuple[Reason, str] | None:
    """Return that the API server refuses what is to be made, or that its name is somebody else's."""
    if observed.refused:
        return refusal_of(observed.refused, Reason.REFUSED)
    if not observed.taken or is_young(observed.resource["metadata"], now):
        return None
    return Reason.NAME_TAKEN, observed.taken


def is_same_work(told: dict[str, Any], context: JobContext) -> bool:
    """Whether the job is still the one that the queue was told of when it began: others have another output."""
    job = told["job"]
    same = job.get("spec_digest", context.spec_digest) == context.spec_digest
    return same and bool(job.get("output", context.output) == context.output)


def _condition(kind: str, holds: bool, reason: str, message: str, now: float) -> dict[str, Any]:
    return {
        "type": str(kind),
        "status": "True" if holds else "False",
        "reason": str(reason),
        "message": message[:MESSAGE_LETTERS],
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
