"""A Cache's Service and StatefulSet, the growth of its volume, and the Cache that is the queue."""

from __future__ import annotations

from typing import Any

from gristmill.api.cache import Cache, CacheSpec
from gristmill.api.names import API_VERSION, CACHE_KIND
from gristmill.api.quantity import format_quantity
from gristmill.reconcilers.cache_access import PORT
from gristmill.reconcilers.cache_pod import template
from gristmill.reconcilers.objects import is_owned, labels_of, metadata_of
from gristmill.reconcilers.stateful_sets import enlarged, template_annotation


def queue(namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the Cache that the operator makes for its queue."""
    return {
        "apiVersion": API_VERSION,
        "kind": CACHE_KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"eviction": "none", "persistence": "log", **spec},
    }


def queue_spec(capacity: str, size: str, storage_class: str) -> dict[str, Any]:
    """Return what the operator's settings say of that Cache, as a patch: what they leave open is taken out."""
    storage = {"size": size or None, "storageClassName": storage_class or None}
    return {"capacity": capacity, "storage": storage if any(storage.values()) else None}


def service(cache: dict[str, Any]) -> dict[str, Any]:
    """Return the Service that gives a Cache its name; a name that leads nowhere while the pod is not ready."""
    metadata = cache["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata_of(CACHE_KIND, metadata, metadata["name"]),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": False,
            "selector": _selector(metadata),
            "ports": [{"name": "redis", "port": PORT, "targetPort": "redis", "protocol": "TCP"}],
        },
    }


def stateful_set(
    cache: dict[str, Any], image: str, password: str, observed: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the StatefulSet of a Cache; `password` is the fingerprint of the one that its pod takes when it starts.

    Kubernetes lets nobody change a StatefulSet's claims: they stay as they are in the one that is observed.
    """
    metadata = cache["metadata"]
    spec = _valid(cache).spec
    claims = observed["spec"].get("volumeClaimTemplates", []) if observed else _claims(metadata, spec)
    pods = template(metadata, spec, image, password)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            **metadata_of(CACHE_KIND, metadata, metadata["name"]),
            "annotations": template_annotation(pods),
        },
        "spec": {
            "replicas": 1,
            "serviceName": metadata["name"],
            # one that never got ready (a wrong image) is replaced, which OrderedReady would not do
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": _selector(metadata)},
            "template": pods,
            "volumeClaimTemplates": claims,
        },
    }


def growth(cache: dict[str, Any], claim: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return how a Cache's claim is to be patched so that its volume is as large as the spec says; None: not at all."""
    spec = _valid(cache).spec
    if spec.persistence == "none" or claim is None or not is_owned(claim, cache["metadata"]["uid"]):
        return None
    return enlarged(claim, spec.storage_size)


def claim_name(cache: dict[str, Any]) -> str:
    """Return the name of the claim that a Cache's data is on."""
    return f"data-{cache['metadata']['name']}-0"


def _valid(cache: dict[str, Any]) -> Cache:
    return Cache.model_validate({key: value for key, value in cache.items() if key != "status"})


def _selector(metadata: dict[str, Any]) -> dict[str, str]:
    """Return the labels by which a Cache's pods are found; an earlier Cache of its name has others."""
    return labels_of(CACHE_KIND, metadata)


def _claims(metadata: dict[str, Any], spec: CacheSpec) -> list[dict[str, Any]]:
    if spec.persistence == "none":
        return []
    # owned by the Cache: the data outlives a StatefulSet that somebody deletes, but not the Cache
    owner = metadata_of(CACHE_KIND, metadata, "data")["ownerReferences"][0]
    claim: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": format_quantity(spec.storage_size)}},
    }
    if spec.storage and spec.storage.storage_class_name:
        claim["storageClassName"] = spec.storage.storage_class_name
    return [
        {
            "metadata": {
                "name": "data",
                "labels": labels_of(CACHE_KIND, metadata),
                "ownerReferences": [
                    {key: owner[key] for key in ("apiVersion", "kind", "name", "uid")},
                ],
            },
            "spec": claim,
        }
    ]
