"""An API server in memory: enough of one to see what the controllers write, and what they do about its refusals."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

KINDS = {
    "chunkjobs": "ChunkJob",
    "caches": "Cache",
    "filevolumes": "FileVolume",
    "jobs": "Job",
    "pods": "Pod",
    "secrets": "Secret",
    "services": "Service",
    "serviceaccounts": "ServiceAccount",
    "rolebindings": "RoleBinding",
    "leases": "Lease",
    "statefulsets": "StatefulSet",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "networkpolicies": "NetworkPolicy",
    "events": "Event",
    "namespaces": "Namespace",
    "workloads": "Workload",
}


class FakeApi:
    """What `controllers.cluster.Cluster` takes for its client."""

    configuration = SimpleNamespace(host="")

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        #: method and path of each call
        self.calls: list[str] = []
        #: answers (HTTP status, message) to calls that begin so
        self.refusals: dict[str, tuple[int, str]] = {}
        #: says what is wrong with a merge patch, or nothing
        self.refuses: Callable[[dict[str, Any]], str] = lambda body: ""
        self._count = 0

    def add(self, kind: str, found: dict[str, Any]) -> dict[str, Any]:
        """Put an object there; what it lacks of its metadata is made."""
        self._count += 1
        metadata = {"uid": f"made-{self._count}", "creationTimestamp": "2026-01-01T00:00:00Z"}
        metadata |= found["metadata"] | {"resourceVersion": str(self._count)}
        made = {**found, "kind": kind, "metadata": metadata}
        if texts := made.pop("stringData", None):
            coded = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
            made["data"] = {**(made.get("data") or {}), **coded}
        self.objects[kind, metadata["namespace"], metadata["name"]] = made
        return made

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        return [found for (one, _, _), found in self.objects.items() if one == kind]

    async def update_params_for_auth(self, *_: Any) -> None:
        """Nobody is asked who they are."""

    async def call_api(self, method: str, url: str, headers: Any, body: Any, **_: Any) -> Any:
        """Answer a call."""
        self.calls.append(f"{method} {url.partition('?')[0]}")
        status, answer = self._answer(method, url, headers["Content-Type"], body)

        async def read() -> bytes:
            return json.dumps(answer).encode()

        return SimpleNamespace(status=status, read=read)

    def _answer(self, method: str, url: str, content: str, body: Any) -> tuple[int, dict[str, Any]]:
        for prefix, (status, message) in self.refusals.items():
            if self.calls[-1].startswith(prefix):
                return status, {"message": message}
        parts = urlsplit(url)
        words = parts.path.strip("/").split("/")
        words = words[2:] if words[0] == "api" else words[3:]
        namespace = ""
        if words[0] == "namespaces" and words[2:]:
            namespace, words = words[1], words[2:]
        kind, name, sub = KINDS[words[0]], *[*words[1:], "", ""][:2]
        if not name and method == "GET":
            selector = parse_qs(parts.query).get("labelSelector", [""])[0]
            return 200, {"items": self._fitting(kind, namespace, selector)}
        name = name or body["metadata"]["name"]
        found = self.objects.get((kind, namespace, name))
        if method == "POST":
            return (409, {"message": "already exists"}) if found else (201, self.add(kind, body))
        if found is None:
            return 404, {"message": f"{kind} {name} not found"}
        if method == "DELETE":
            return self._delete(kind, namespace, name, body)
        if method == "PATCH":
            return self._patch(kind, found, content, body, sub)
        return 200, found or {}

    def _fitting(self, kind: str, namespace: str, selector: str) -> list[dict[str, Any]]:
        words = [word.partition("=") for word in selector.split(",") if word]
        return [
            found
            for found in self.all(kind)
            if namespace in ("", found["metadata"]["namespace"])
            and all(_has(found["metadata"].get("labels") or {}, *word) for word in words)
        ]

    def _delete(self, kind: str, namespace: str, name: str, body: Any) -> tuple[int, dict[str, Any]]:
        metadata, expected = self.objects[kind, namespace, name]["metadata"], body["preconditions"]
        if expected["uid"] != metadata["uid"]:
            return 409, {"message": "Precondition failed: UID in precondition: x, UID in object meta: y"}
        if expected.get("resourceVersion") not in (None, metadata["resourceVersion"]):
            return 409, {
                "message": "Precondition failed: ResourceVersion in precondition: 1, in object meta: 2"
            }
        del self.objects[kind, namespace, name]
        return 200, {}

    def _patch(self, kind: str, found: Any, content: str, body: Any, sub: str) -> tuple[int, dict[str, Any]]:
        if content == "application/json-patch+json":
            (test, *changes) = body
            owners = found["metadata"].get("ownerReferences") or [{}]
            if owners[0].get("uid") != test["value"]:
                return 422, {"message": "the test failed"}
            for change in changes:
                *path, last = change["path"].strip("/").split("/")
                place = found
                for word in path:
                    place = place[word]
                place[last] = change["value"]
            return 200, self.add(kind, found)
        asked, known = body["metadata"], found["metadata"]
        if asked.get("resourceVersion") not in (None, known.get("resourceVersion")):
            return 409, {"message": "the object has been modified"}
        if sub != "status" and asked.get("uid") not in (None, known.get("uid")):
            return 422, {"message": "metadata.uid: Invalid value: field is immutable"}
        if wrong := self.refuses(body):
            return 422, {"message": wrong}
        if sub == "status":
            body = {"status": body["status"]}
        return 200, self.add(kind, _merged(found, body))


def _has(labels: dict[str, str], name: str, equals: str, value: str) -> bool:
    return name in labels and (not equals or labels[name] == value)


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    base = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            base.pop(name, None)
        else:
            base[name] = _merged(base.get(name), value)
    return base
