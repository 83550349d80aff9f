"""The status of a Cache: whether it can be used, why, and what of its spec is not so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.api.names import ConditionType, Reason
from gristmill.api.status import MESSAGE_LETTERS
from gristmill.reconcilers.cache_access import endpoint, secret_name
from gristmill.reconcilers.objects import is_owned, is_young
from gristmill.reconcilers.obstacles import refusal_of
from gristmill.reconcilers.times import seconds_of


def status(
    cache: dict[str, Any],
    observed_stateful_set: dict[str, Any] | None,
    now_iso: str,
    taken: str = "",
    refused: str = "",
    undone: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the status of a Cache, of which this StatefulSet was seen.

    `taken` names an object that is in the way and somebody else's, `refused` says why the API server does not take
    what the Cache needs, `undone` what else is not as the spec says.
    """
    holds, reason, message = _readiness(cache, observed_stateful_set)
    if taken:
        # (what an earlier Cache of this name has left is gone in seconds)
        young = is_young(cache["metadata"], seconds_of(now_iso) or 0.0)
        holds, reason, message = False, Reason.STARTING if young else Reason.NAME_TAKEN, taken
    else:
        if refused and not holds:
            reason, refused = refusal_of(refused, Reason.REFUSED)
        refusals = [f"the API server refuses what it needs: {refused}"] if refused else []
        message = "; ".join((message, *refusals, *undone))[:MESSAGE_LETTERS]
    ready = "True" if holds else "False"
    before = [
        condition["lastTransitionTime"]
        for condition in (cache.get("status") or {}).get("conditions") or ()
        if condition["type"] == ConditionType.READY and condition["status"] == ready
    ]
    return {
        "conditions": [
            {
                "type": str(ConditionType.READY),
                "status": ready,
                "reason": str(reason),
                "message": message,
                "observedGeneration": cache["metadata"]["generation"],
                "lastTransitionTime": before[0] if before else now_iso,
            }
        ],
        "endpoint": _endpoint(cache),
        "secretName": secret_name(cache["metadata"]["name"]),
    }


def _readiness(cache: dict[str, Any], observed: dict[str, Any] | None) -> tuple[bool, Reason, str]:
    """Return whether a Cache can be used, why, and a sentence for people."""
    name = cache["metadata"]["name"]
    if observed is None:
        return False, Reason.STARTING, f"StatefulSet {name} is not there yet"
    if not is_owned(observed, cache["metadata"]["uid"]):
        if observed["metadata"].get("deletionTimestamp"):
            return False, Reason.STARTING, f"waits until an earlier StatefulSet {name} is gone"
        message = f"StatefulSet {name} is somebody else's; delete it, or give the Cache another name"
        return False, Reason.NAME_TAKEN, message
    seen = observed.get("status") or {}
    if not seen.get("readyReplicas"):
        message = f"pod {name}-0 is not ready; `kubectl describe pod {name}-0` shows what it waits for"
        return False, Reason.STARTING, message
    looked = seen.get("observedGeneration", 0) >= observed["metadata"]["generation"]
    if not looked or seen.get("currentRevision") != seen.get("updateRevision"):
        return True, Reason.UPDATING, f"answers at {_endpoint(cache)}, and restarts with another spec soon"
    return True, Reason.SERVING, f"answers at {_endpoint(cache)}"


def _endpoint(cache: dict[str, Any]) -> str:
    return endpoint(cache["metadata"]["name"], cache["metadata"]["namespace"])
