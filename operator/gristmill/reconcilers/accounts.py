"""What lets the workers of a ChunkJob coordinate: a service account of their own, bound to the chart's role for that.

Others have no account that may do anything (docs/decisions/0005).
"""

from __future__ import annotations

from typing import Any

from gristmill.api.names import KIND
from gristmill.reconcilers.objects import metadata_of
from gristmill.reconcilers.times import seconds_of

_RBAC = "rbac.authorization.k8s.io"


def account_name(name: str) -> str:
    """Return the name of the service account of a ChunkJob that coordinates, and of its binding."""
    return f"{name}-coordination"


def account(owner: dict[str, Any]) -> dict[str, Any]:
    """Return the service account; `owner` is the ChunkJob's metadata."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata_of(KIND, owner, account_name(owner["name"])),
        "automountServiceAccountToken": False,  # (the workers' pods ask for it)
    }


def binding(owner: dict[str, Any], role: str) -> dict[str, Any]:
    """Return what gives the service account the rights of a ClusterRole in the job's namespace."""
    name = account_name(owner["name"])
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata_of(KIND, owner, name),
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": owner["namespace"]}],
    }


def has_former_account(pod: dict[str, Any], made: float | None) -> bool:
    """Whether a pod is older than its service account, so that its token is that of one which is gone."""
    created = seconds_of(pod["metadata"].get("creationTimestamp"))
    return made is not None and created is not None and created < made
