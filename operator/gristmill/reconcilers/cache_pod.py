"""The pod of a Cache: a Valkey server that owns its user `default`, whose password is the Secret's.

The pod writes that user's line into the ACL file each time it starts, and keeps the file's other users.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from gristmill.api.cache import CacheSpec
from gristmill.api.names import CACHE_KIND, GROUP
from gristmill.api.quantity import format_quantity
from gristmill.reconcilers.cache_access import PORT, secret_name
from gristmill.reconcilers.objects import CONTAINER_SECURITY, given, labels_of, pod_security

#: the user of Valkey's images
_USER = 999
_DATA = "/data"
#: an annotation of the pod: the fingerprint of the password that it has
_SECRET = f"{GROUP}/secret"
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


def template(metadata: dict[str, Any], spec: CacheSpec, image: str, password: str) -> dict[str, Any]:
    """Return the template of a Cache's pod; with the fingerprint of another password it is another."""
    return {
        "metadata": {"labels": labels_of(CACHE_KIND, metadata), "annotations": {_SECRET: password}},
        "spec": _pod(metadata["name"], spec, image),
    }


def _pod(name: str, spec: CacheSpec, image: str) -> dict[str, Any]:
    password = {"secretKeyRef": {"name": secret_name(name), "key": "password"}}
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
    requests, limits = given(spec.resources.requests), given(spec.resources.limits)
    if "cpu" not in requests and "cpu" not in limits:
        requests["cpu"] = "50m"
    if "memory" not in limits:
        enough = ceil(spec.capacity * 1.5) + _OWN_MEMORY
        limits["memory"] = format_quantity(max(enough, spec.resources.requests.memory or 0))
    return {"requests": requests, "limits": limits}
