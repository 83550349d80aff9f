"""A Cache's objects (Secret, Service, StatefulSet) and its status.

The server owns its user `default`, whose password is the Secret's: the pod writes that user's line into the ACL file
each time it starts, and keeps the file's other users.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import ceil
from typing import Any
from urllib.parse import quote

import orjson

from gristmill.api.cache import Cache, CacheSpec, processors
from gristmill.api.names import API_VERSION, CACHE_KIND, GROUP, ConditionType, Reason
from gristmill.api.quantity import format_quantity, parse_quantity
from gristmill.reconcilers.objects import (
    CONTAINER_SECURITY,
    is_owned,
    is_young,
    labels_of,
    metadata_of,
    pod_security,
)
from gristmill.reconcilers.times import seconds_of

PORT = 6379
#: the user of Valkey's images
_USER = 999
_DATA = "/data"
#: an annotation of the pod: the uid of the Secret whose password it has
_SECRET = f"{GROUP}/secret"
#: an annotation of the StatefulSet: a digest of the template that it was last given
_TEMPLATE = f"{GROUP}/template"
_POLICIES = {"lru": "allkeys-lru", "lfu": "allkeys-lfu", "ttl": "volatile-ttl", "none": "noeviction"}
#: what the server uses beside keys and values
_OWN_MEMORY = 64 * 2**20
#: what becomes the pod's first process: it makes the user `default` (the password is in no argument), then the server
_ENTRY = f"""\
umask 077
users={_DATA}/users.acl
hash=$(printf %s "$REDISCLI_AUTH" | sha256sum | cut -c 1-64)
{{
  echo "user default on #$hash ~* &* +@all"
  if [ -e $users ]; then sed '/^user default /d' $users; fi
}} > $users.new
mv $users.new $users
exec "$@"
"""


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


def secret(cache: dict[str, Any], password: str) -> dict[str, Any]:
    """Return the Secret that lets people and jobs into a Cache."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata_of(CACHE_KIND, cache["metadata"], secret_name(cache)),
        "type": "Opaque",
        "stringData": {
            "password": password,
            "url": f"redis://default:{quote(password, safe='')}@{endpoint(cache)}",
        },
    }


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
    cache: dict[str, Any], image: str, secret_uid: str, observed: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the StatefulSet of a Cache; with another Secret its pod is another, which takes the new password over.

    Kubernetes lets nobody change a StatefulSet's claims: they stay as they are in the one that is observed.
    """
    metadata = cache["metadata"]
    spec = _valid(cache).spec
    claims = observed["spec"].get("volumeClaimTemplates", []) if observed else _claims(metadata, spec)
    template = {
        "metadata": {"labels": labels_of(CACHE_KIND, metadata), "annotations": {_SECRET: secret_uid}},
        "spec": _pod(cache, spec, image),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            **metadata_of(CACHE_KIND, metadata, metadata["name"]),
            "annotations": {_TEMPLATE: _digest(template)},
        },
        "spec": {
            "replicas": 1,
            "serviceName": metadata["name"],
            # one that never got ready (a wrong image) is replaced, which OrderedReady would not do
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": _selector(metadata)},
            "template": template,
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


def status(
    cache: dict[str, Any],
    observed_stateful_set: dict[str, Any] | None,
    now_iso: str,
    taken: str = "",
    undone: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the status of a Cache, of which this StatefulSet was seen.

    `taken` names an object that is in the way and somebody else's, `undone` tells what was refused.
    """
    holds, reason, message = _readiness(cache, observed_stateful_set)
    if taken:
        # (what an earlier Cache of this name has left is gone in seconds)
        young = is_young(cache["metadata"], seconds_of(now_iso) or 0.0)
        holds, reason, message = False, Reason.STARTING if young else Reason.NAME_TAKEN, taken
    else:
        message = "; ".join((message, *undone))
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
        "endpoint": endpoint(cache),
        "secretName": secret_name(cache),
    }


def endpoint(cache: dict[str, Any]) -> str:
    """Return where a Cache answers, as host:port."""
    return f"{cache['metadata']['name']}.{cache['metadata']['namespace']}.svc:{PORT}"


def claim_name(cache: dict[str, Any]) -> str:
    """Return the name of the claim that a Cache's data is on."""
    return f"data-{cache['metadata']['name']}-0"


def secret_name(cache: dict[str, Any]) -> str:
    """Return the name of a Cache's Secret."""
    return f"{cache['metadata']['name']}-auth"


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


def _pod(cache: dict[str, Any], spec: CacheSpec, image: str) -> dict[str, Any]:
    password = {"secretKeyRef": {"name": secret_name(cache), "key": "password"}}
    container = {
        "name": "valkey",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-ec", _ENTRY, "entry"],
        "args": _arguments(spec),
        "env": [{"name": "REDISCLI_AUTH", "valueFrom": password}],
        "ports": [{"name": "redis", "containerPort": PORT, "protocol": "TCP"}],
        # asks every second until the server listens, so that it is ready as soon as it can be
        "startupProbe": {"tcpSocket": {"port": "redis"}, "periodSeconds": 1, "failureThreshold": 300},
        "readinessProbe": {
            # a server that still reads its log answers with an error, and with exit code 0
            "exec": {"command": ["sh", "-c", 'test "$(valkey-cli ping)" = PONG']},
            "periodSeconds": 3,
            "timeoutSeconds": 3,
        },
        "resources": _resources(spec),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "data", "mountPath": _DATA}],
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(_USER),
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}] if spec.persistence == "none" else [],
    }


def _arguments(spec: CacheSpec) -> list[str]:
    return [
        "valkey-server",
        *("--port", str(PORT)),
        *("--dir", _DATA),
        *("--aclfile", f"{_DATA}/users.acl"),
        *("--maxmemory", str(spec.capacity)),
        *("--maxmemory-policy", _POLICIES[spec.eviction]),
        *("--appendonly", "yes" if spec.persistence == "log" else "no"),
        *("--appendfsync", "everysec"),
        *("--save", ""),
        *("--enable-debug-command", "no"),
    ]


def _resources(spec: CacheSpec) -> dict[str, dict[str, str]]:
    """Return what the container is given: what the spec says, and memory for a fork that rewrites the log."""
    requests, limits = (
        {
            **({"cpu": _format_processors(given.cpu)} if given.cpu is not None else {}),
            **({"memory": format_quantity(given.memory)} if given.memory is not None else {}),
        }
        for given in (spec.resources.requests, spec.resources.limits)
    )
    if "cpu" not in requests and "cpu" not in limits:
        requests["cpu"] = "50m"
    if "memory" not in limits:
        enough = ceil(spec.capacity * 1.5) + _OWN_MEMORY
        limits["memory"] = format_quantity(max(enough, spec.resources.requests.memory or 0))
    return {"requests": requests, "limits": limits}


def _format_processors(given: int | str) -> str:
    """Return a number of processors as the API server writes it: 500m, 2."""
    number = processors(given)
    return str(number) if number.denominator == 1 else f"{number * 1000}m"


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
        return True, Reason.UPDATING, f"answers at {endpoint(cache)}, and restarts with another spec soon"
    return True, Reason.SERVING, f"answers at {endpoint(cache)}"
