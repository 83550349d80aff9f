"""What all objects that the operator makes have in common: labels, an owner, and a pod that may do nothing."""

from __future__ import annotations

from typing import Any

from gristmill.api.names import API_VERSION, GROUP
from gristmill.api.quantity import format_quantity
from gristmill.api.resources import ComputeResources, processors
from gristmill.reconcilers.times import seconds_of

MANAGED_BY = "app.kubernetes.io/managed-by"
UID = f"{GROUP}/uid"
#: seconds in which what a deleted resource owned is gone
_LEFTOVER_SECONDS = 5.0
#: user and group of Gristmill's own images
USER = 65532

#: Pod Security `restricted`, for a container
CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod_security(user: int) -> dict[str, Any]:
    """Return Pod Security `restricted`, for a pod whose processes run as this user."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def labels_of(kind: str, metadata: dict[str, Any]) -> dict[str, str]:
    """Return the labels by which what belongs to a resource is found."""
    return {f"{GROUP}/{kind.lower()}": metadata["name"], UID: metadata["uid"], MANAGED_BY: "gristmill"}


def metadata_of(kind: str, owner: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the metadata of an object that a resource owns: it goes when that goes."""
    return {
        "name": name,
        "namespace": owner["namespace"],
        "labels": labels_of(kind, owner),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": kind,
                "name": owner["name"],
                "uid": owner["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def given(resources: ComputeResources) -> dict[str, str]:
    """Return what a container is given, as the API server writes it: {cpu: 500m, memory: 1Gi}."""
    said = {}
    if resources.cpu is not None:
        number = processors(resources.cpu)
        said["cpu"] = str(number) if number.denominator == 1 else f"{number * 1000}m"
    if resources.memory is not None:
        said["memory"] = format_quantity(resources.memory)
    return said


def is_young(metadata: dict[str, Any], now: float) -> bool:
    """Whether a resource is so new that what one of the same name had may still be there."""
    created = seconds_of(metadata.get("creationTimestamp"))
    return created is not None and now < created + _LEFTOVER_SECONDS


def is_owned(found: dict[str, Any], uid: str) -> bool:
    """Whether an object was made for the resource with this uid, not for one that had its name before."""
    return any(owner.get("uid") == uid for owner in found["metadata"].get("ownerReferences") or ())
