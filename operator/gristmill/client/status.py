"""The status of a run as the custom resource has it, made from what the queue says: a function of values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gristmill.api.names import ConditionType, Reason
from gristmill.planning.progress import Sample, State, eta_of, rate_of, state_of


def status_of(told: dict[str, Any], samples: Sequence[Sample], output: str) -> dict[str, Any]:
    """Return the status of a job: `told` is the answer of `Queue.status`, `samples` what was seen until now.

    Without samples, and when the job has ended, the rate is the average since it was planned.
    """
    job = told["job"]
    now = told["now"] / 1000
    total, settled = _number(job, "chunks"), _number(job, "settled")
    planned = bool(job.get("planned"))
    state = state_of(job["phase"], job.get("suspended") == "1", told["alive"])
    failed = min(_number(job, "chunks_failed"), settled)
    items = _number(job, "items", -1)
    rate = _rate(job, samples, now)
    running = state is State.RUNNING
    return {
        "name": job["name"],
        "state": str(state),
        "conditions": _conditions(job, state, now),
        "chunks": {
            "total": total if planned else None,
            "running": told["leased"],
            "succeeded": settled - failed,
            "failed": failed,
            "retried": _number(job, "retried"),
        },
        "items": {
            "total": items if planned and items >= 0 else None,
            "succeeded": _number(job, "items_done"),
            "failed": _number(job, "items_dead"),
        },
        "ratePerSecond": None if rate is None else round(rate, 3),
        "etaSeconds": eta_of(total - settled, rate) if running else None,
        "workers": told["alive"],
        "startTime": _time(job, "created"),
        "completionTime": _time(job, "finished"),
        "output": output or None,
        "outputDigest": job.get("output_digest") or None,
        "planDigest": job.get("digest") or None,
    }


def unknown(name: str) -> dict[str, Any]:
    """Return the status of a job of which the queue has said nothing yet."""
    return status_of({"job": {"name": name, "phase": "planning"}, "now": 0, "leased": 0, "alive": 0}, (), "")


def ended(status: dict[str, Any]) -> bool:
    """Whether nothing more will happen."""
    return status["state"] in (State.COMPLETE, State.FAILED)


def failure_of(status: dict[str, Any]) -> tuple[str, str]:
    """Return reason and message of a failed job."""
    for condition in status["conditions"]:
        if condition["type"] == ConditionType.FAILED and condition["status"] == "True":
            return condition["reason"], condition["message"]
    return "", ""


def _rate(job: dict[str, Any], samples: Sequence[Sample], now: float) -> float | None:
    if not job.get("planned"):
        return None
    begin = _number(job, "planned") / 1000
    finished = _number(job, "finished") / 1000
    settled = _number(job, "settled")
    if finished or not samples:
        samples = [Sample(begin, 0), Sample(finished or now, settled)]
    return rate_of(samples, samples[-1].at) if finished else rate_of(samples, now)


def _conditions(job: dict[str, Any], state: State, now: float) -> list[dict[str, Any]]:
    created, planned, finished = (_time(job, name) for name in ("created", "planned", "finished"))
    done = _number(job, "settled") >= _number(job, "chunks")
    ended = state in (State.COMPLETE, State.FAILED)
    conditions = [
        _condition(ConditionType.PLANNED, True, Reason.PLAN_WRITTEN, planned)
        if planned
        else _condition(ConditionType.PLANNED, False, Reason.PLANNING, created)
    ]
    if ended:
        conditions.append(_condition(ConditionType.PROGRESSING, False, Reason.FINISHED, finished))
    elif state is State.SUSPENDED:
        conditions.append(_condition(ConditionType.PROGRESSING, False, Reason.SUSPENDED_BY_SPEC, _text(now)))
    elif planned:
        reason = Reason.FINISHING if done else Reason.RUNNING
        conditions.append(_condition(ConditionType.PROGRESSING, True, reason, planned))
    if state is State.COMPLETE:
        dead = _number(job, "dead")
        reason = Reason.FAILURES_TOLERATED if dead else Reason.ALL_SUCCEEDED
        message = f"{dead} dead letter{'' if dead == 1 else 's'}" if dead else ""
        conditions.append(_condition(ConditionType.COMPLETE, True, reason, finished, message))
    if state is State.FAILED:
        conditions.append(
            _condition(ConditionType.FAILED, True, job.get("reason", ""), finished, job.get("message", ""))
        )
    if state is State.SUSPENDED:
        conditions.append(_condition(ConditionType.SUSPENDED, True, Reason.SUSPENDED_BY_SPEC, _text(now)))
    return conditions


def _condition(kind: str, holds: bool, reason: str, since: str | None, message: str = "") -> dict[str, Any]:
    return {
        "type": str(kind),
        "status": "True" if holds else "False",
        "reason": str(reason),
        "message": message,
        "lastTransitionTime": since,
    }


def _number(job: dict[str, Any], field: str, default: int = 0) -> int:
    return int(job.get(field) or default)


def _time(job: dict[str, Any], field: str) -> str | None:
    milliseconds = _number(job, field)
    return _text(milliseconds / 1000) if milliseconds else None


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
