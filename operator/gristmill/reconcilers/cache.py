"""A Cache's Service and StatefulSet, the growth of its volume, and the Cache that is the queue."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from gristmill.api.cache import Cache, CacheSpec
from gristmill.api.names import API_VERSION, CACHE_KIND, GROUP
from gristmill.api.quantity import format_quantity, parse_quantity
from gristmill.reconcilers.cache_access import PORT
from gristmill.reconcilers.cache_pod import template
from gristmill.reconcilers.objects import is_owned, labels_of, metadata_of

#: an annotation of the StatefulSet: a digest of the template that it was last given
_TEMPLATE = f"{GROUP}/template"


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
            "annotations": {_TEMPLATE: _digest(pods)},
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


def change(observed: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any] | None:
    """Return a merge patch that makes a StatefulSet as it is wanted, or None where it is.

    The digest tells of what was wanted before and is not any more, the rest of what somebody else has changed. A merge
    patch replaces lists as a whole, so what a container has no more is taken away.
    """
    given = (observed["metadata"].get("annotations") or {}).get(_TEMPLATE)
    annotations = wanted["metadata"]["annotations"]
    spec = {name: wanted["spec"][name] for name in ("replicas", "template")}
    if given == annotations[_TEMPLATE] and _contains(observed["spec"], spec):
        return None
    return {"metadata": {"annotations": annotations}, "spec": spec}


def growth(cache: dict[str, Any], claim: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return how a Cache's claim is to be patched so that its volume is as large as the spec says; None: not at all."""
    spec = _valid(cache).spec
    if spec.persistence == "none" or claim is None or not is_owned(claim, cache["metadata"]["uid"]):
        return None
    try:
        asked = parse_quantity(claim["spec"]["resources"]["requests"]["storage"])
    except ValueError:  # (somebody else has changed it, to a quantity of another form)
        return None
    if asked >= spec.storage_size:  # (a volume can't shrink)
        return None
    return {"spec": {"resources": {"requests": {"storage": format_quantity(spec.storage_size)}}}}


def claim_name(cache: dict[str, Any]) -> str:
    """Return the name of the claim that a Cache's data is on."""
    return f"data-{cache['metadata']['name']}-0"


def _digest(template: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(template, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _contains(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted is so; what the API server has added does not count."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            _contains(found.get(name), value) for name, value in wanted.items() if value not in ({}, [], None)
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) >= len(wanted)
            and all(_contains(a, b) for a, b in zip(found, wanted, strict=False))
        )
    return bool(found == wanted) or str(found) == str(wanted)


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
