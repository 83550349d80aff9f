"""The status of a ChunkJob as a cluster has it, with all fields: a function of the resource."""

from __future__ import annotations

from typing import Any

from gristmill.api.names import ConditionType, Reason
from gristmill.client.status import ended
from gristmill.planning.progress import State


def status_in(resource: dict[str, Any]) -> dict[str, Any]:
    """Return the status in the form of `client.status.status_of`; the operator leaves out what it does not know yet."""
    told = resource.get("status") or {}
    return {
        "name": resource["metadata"]["name"],
        "state": told.get("state") or str(State.PENDING),
        "conditions": told.get("conditions") or [],
        "chunks": {
            "total": None,
            "running": 0,
            "succeeded": 0,
            "failed": 0,
            "retried": 0,
            **(told.get("chunks") or {}),
        },
        "items": {"total": None, "succeeded": 0, "failed": 0, **(told.get("items") or {})},
        **{
            name: told.get(name)
            for name in (
                "ratePerSecond",
                "etaSeconds",
                "startTime",
                "completionTime",
                "output",
                "outputDigest",
                "planDigest",
            )
        },
        "workers": told.get("workers") or 0,
    }


def has_ended(resource: dict[str, Any]) -> bool:
    """Whether nothing more will happen; that an earlier manifest was wrong says nothing of this one."""
    if not ended(status_in(resource)):
        return False
    return not any(
        condition["type"] == ConditionType.FAILED
        and condition["reason"] == Reason.INVALID_SPEC
        and condition.get("observedGeneration", 0) < resource["metadata"].get("generation", 0)
        for condition in resource["status"]["conditions"]
    )
