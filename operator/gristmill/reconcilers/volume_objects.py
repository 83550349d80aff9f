"""What a FileVolume becomes in Kubernetes, but for what runs in its pods."""

from __future__ import annotations

from typing import Any

from gristmill.api.filevolume import FileVolumeSpec
from gristmill.api.names import FILE_VOLUME_KIND, GROUP
from gristmill.api.quantity import format_quantity
from gristmill.reconcilers.objects import MANAGED_BY, labels_of, metadata_of
from gristmill.reconcilers.stateful_sets import template_annotation
from gristmill.reconcilers.volume_access import PORTS, Part, access_name, part_name
from gristmill.reconcilers.volume_pods import FILES_FOUND, selector_of, template

#: an annotation of the Job: its chore, in words
CHORE = f"{GROUP}/chore"


def services(owner: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the Services that give names to the pods, and to the whole; `owner` is the FileVolume's metadata."""
    headless = [
        # (pods that are not ready must find one another to get so)
        _service(
            owner,
            part_name(owner["name"], part),
            part,
            {"clusterIP": "None", "publishNotReadyAddresses": True},
        )
        for part in PORTS
    ]
    return [*headless, _service(owner, access_name(owner["name"]), Part.FILER, {})]


def budgets(owner: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the PodDisruptionBudgets: who drains nodes evicts one pod of a part at a time."""
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata_of(FILE_VOLUME_KIND, owner, part_name(owner["name"], part)),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector_of(owner, part)}},
        }
        for part in (Part.SERVER, Part.MASTER)
    ]


def network_policy(owner: dict[str, Any], operator_namespace: str) -> dict[str, Any]:
    """Return the NetworkPolicy: what asks for the key is open, the rest to the volume's own pods and the operator."""
    own = labels_of(FILE_VOLUME_KIND, owner)
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": operator_namespace}},
        "podSelector": {
            "matchLabels": {"app.kubernetes.io/name": "gristmill", "app.kubernetes.io/component": "operator"}
        },
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata_of(FILE_VOLUME_KIND, owner, access_name(owner["name"])),
        "spec": {
            "podSelector": {"matchLabels": own},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": [{"port": PORTS[part], "protocol": "TCP"} for part in (Part.FILER, Part.SERVER)]},
                {"from": [{"podSelector": {"matchLabels": own}}]},
                {"from": [operator], "ports": [{"port": PORTS[Part.MASTER], "protocol": "TCP"}]},
            ],
        },
    }


def stateful_set(
    owner: dict[str, Any],
    spec: FileVolumeSpec,
    part: Part,
    replicas: int,
    pods: dict[str, Any],
    observed: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the StatefulSet of a part. Nobody may change one's claims: they stay as in the one that is observed."""
    name = part_name(owner["name"], part)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            **metadata_of(FILE_VOLUME_KIND, owner, name),
            "annotations": template_annotation(pods),
        },
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            # all at once: they wait for one another, and one that never got ready is replaced
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": selector_of(owner, part)},
            "template": pods,
            # (a server's claim is deleted when it has been emptied, by the operator)
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": spec.deletion_policy,
                "whenScaled": "Retain",
            },
            "volumeClaimTemplates": (
                observed["spec"]["volumeClaimTemplates"] if observed else [_claim(owner, spec, part)]
            ),
        },
    }


def parts_of(
    owner: dict[str, Any], spec: FileVolumeSpec, image: str, key: str, storage: int
) -> dict[Part, dict[str, Any]]:
    """Return the templates of the pods of all parts that have a StatefulSet."""
    return {part: template(owner, spec, part, image, key, storage) for part in PORTS}


def size_of(spec: FileVolumeSpec, part: Part) -> int:
    """Return the bytes that the claims of a part ask for."""
    return {Part.SERVER: spec.storage, Part.FILER: spec.filer_size, Part.MASTER: spec.master_size}[part]


def chore_job(owner: dict[str, Any], chore: str, pods: dict[str, Any], seconds: int) -> dict[str, Any]:
    """Return the Job that does a chore in so many seconds. `chore` tells which, to whoever finds it."""
    metadata = metadata_of(FILE_VOLUME_KIND, owner, part_name(owner["name"], Part.CHORE))
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**metadata, "annotations": {CHORE: chore}},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": seconds,
            # (so the Job tells files that were found from a pod that was evicted, say)
            "podFailurePolicy": {
                "rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [FILES_FOUND]}}]
            },
            "template": pods,
        },
    }


def claim_labels(name: str) -> dict[str, str]:
    """Return the labels of a FileVolume's claims: the next of its name takes them up, so there is no uid."""
    return {f"{GROUP}/{FILE_VOLUME_KIND.lower()}": name, MANAGED_BY: "gristmill"}


def _claim(owner: dict[str, Any], spec: FileVolumeSpec, part: Part) -> dict[str, Any]:
    storage_class = spec.storage_class_name
    if part is Part.FILER:
        storage_class = spec.filer.storage_class_name or storage_class
    return {
        "metadata": {"name": "data", "labels": claim_labels(owner["name"])},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": format_quantity(size_of(spec, part))}},
            **({"storageClassName": storage_class} if storage_class else {}),
        },
    }


def _service(owner: dict[str, Any], name: str, part: Part, more: dict[str, Any]) -> dict[str, Any]:
    ports = {"http": PORTS[part], "grpc": PORTS[part] + 10_000}
    if not more:
        del ports["grpc"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata_of(FILE_VOLUME_KIND, owner, name),
        "spec": {
            **more,
            "selector": selector_of(owner, part),
            "ports": [
                {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}
                for name, port in ports.items()
            ],
        },
    }
