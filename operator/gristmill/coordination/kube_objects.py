"""Records as manifests of Kubernetes: Leases and ConfigMaps, and their changes as JSON patches. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from gristmill.coordination.port import (
    ACQUIRED,
    HOLDER,
    RENEWED,
    SECONDS,
    TRANSITIONS,
    Changes,
    Kind,
    Owner,
    Record,
    Scope,
)

#: says of an object what it is for, and of which tree it is
KIND_LABEL = "coordination.gristmill.dev/kind"
GROUP_LABEL = "coordination.gristmill.dev/tree"
#: begins the name of an annotation that is a record's field
PREFIX = "coordination.gristmill.dev/"
#: a node's value is under this key of a ConfigMap
VALUE = "value"

#: where a Lease has what fields it knows
_SPEC = {
    HOLDER: "holderIdentity",
    SECONDS: "leaseDurationSeconds",
    ACQUIRED: "acquireTime",
    RENEWED: "renewTime",
    TRANSITIONS: "leaseTransitions",
}
_NUMBERS = (SECONDS, TRANSITIONS)
#: bytes that a text may have as JSON, for a request may have 3 MiB; and that one of its bytes may take there
_MOST_TEXT = (3 << 20) - (64 << 10)
_MOST_ESCAPED = 6
#: passes where an object has no annotations
_BARE = {"op": "test", "path": "/metadata/annotations", "value": None}
#: passes where an object is a lock
_LOCK = {"op": "test", "path": "/metadata/labels/" + KIND_LABEL.replace("/", "~1"), "value": str(Kind.LOCK)}


def selectors(scope: Scope) -> dict[str, str]:
    """Return the words of a query for the objects of a scope."""
    words = {}
    if scope.name:
        words["fieldSelector"] = f"metadata.name={scope.name}"
    else:
        labels = f"{KIND_LABEL}={scope.kind}" + (f",{GROUP_LABEL}={scope.group}" if scope.group else "")
        words["labelSelector"] = labels
    return words


def record_of(kind: Kind, found: Mapping[str, Any]) -> Record:
    """Return the record that an object is."""
    metadata = found["metadata"]
    fields = {
        name.removeprefix(PREFIX): text
        for name, text in (metadata.get("annotations") or {}).items()
        if name.startswith(PREFIX)
    }
    spec = found.get("spec") or {}
    for field, name in _SPEC.items():
        if kind is not Kind.NODE and spec.get(name) is not None:
            fields[field] = str(spec[name])
    owners = [one for one in metadata.get("ownerReferences") or () if one["kind"] == "Lease"]
    return Record(
        kind=kind,
        name=metadata["name"],
        group=(metadata.get("labels") or {}).get(GROUP_LABEL, ""),
        fields=fields,
        value=_value(found) if kind is Kind.NODE else b"",
        owner=Owner(owners[0]["name"], owners[0]["uid"]) if owners else None,
        revision=int(metadata["resourceVersion"]),
        uid=metadata["uid"],
    )


def is_lock(found: Mapping[str, Any]) -> bool:
    """Whether a Lease is a lock, and not another program's that has its name."""
    return (found["metadata"].get("labels") or {}).get(KIND_LABEL) == str(Kind.LOCK)


def _value(found: Mapping[str, Any]) -> bytes:
    if (coded := (found.get("binaryData") or {}).get(VALUE)) is not None:
        return base64.b64decode(coded)
    text: str = (found.get("data") or {}).get(VALUE, "")
    return text.encode()


def _data(value: bytes) -> tuple[str, str]:
    """Return the part of a ConfigMap that has a value, and it there: text where it is some, for people read it."""
    try:
        text: str | None = value.decode()
    except UnicodeDecodeError:
        text = None
    if text is None or (len(value) * _MOST_ESCAPED > _MOST_TEXT and len(json.dumps(text)) > _MOST_TEXT):
        return "binaryData", base64.b64encode(value).decode()
    return "data", text


def manifest_of(record: Record) -> dict[str, Any]:
    """Return the manifest of a record."""
    lease = record.kind is not Kind.NODE
    spec = {
        name: _typed(field, record.fields[field]) for field, name in _SPEC.items() if field in record.fields
    }
    others = {PREFIX + field: text for field, text in record.fields.items() if not (lease and field in _SPEC)}
    metadata: dict[str, Any] = {
        "name": record.name,
        "labels": {KIND_LABEL: str(record.kind)} | ({GROUP_LABEL: record.group} if record.group else {}),
        "annotations": others,
    }
    if record.owner:
        reference = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        metadata["ownerReferences"] = [{**reference, "name": record.owner.name, "uid": record.owner.uid}]
    if lease:
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
    part, text = _data(record.value)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, part: {VALUE: text}}


def patch_of(
    kind: Kind,
    changes: Changes,
    value: bytes | None,
    where: Changes,
    revision: int | None,
    found: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Return the patch that changes fields and value of a record under conditions.

    It fits what was `found`; without that, what most objects are: those that were made here, whose value stays text, or
    none.
    """
    patch: list[dict[str, Any]] = []
    if found is not None and "annotations" not in found["metadata"]:
        patch += [_BARE, {"op": "add", "path": "/metadata/annotations", "value": {}}]
    if kind is Kind.LOCK:
        patch.append(_LOCK)
    patch += [_test(kind, field, text) for field, text in where.items()]
    if revision is not None:
        patch.append({"op": "test", "path": "/metadata/resourceVersion", "value": str(revision)})
    for field, text in changes.items():
        patch += _operations(kind, field, text)
    if value is not None:
        patch += _put(value, found)
    return patch


def _put(value: bytes, found: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the operations that put a value in its place, and leave the other keys of a ConfigMap as they are."""
    part, text = _data(value)
    other = "data" if part == "binaryData" else "binaryData"
    here, there = ((found if found is not None else {part: {VALUE: ""}}).get(one) for one in (part, other))
    patch: list[dict[str, Any]] = []
    if there and VALUE in there:
        patch.append({"op": "remove", "path": f"/{other}/{VALUE}"})
    else:  # (one key can't be in both; what is below nothing can't be tested)
        patch.append({"op": "test", "path": f"/{other}" + (f"/{VALUE}" if there else ""), "value": None})
    if here:
        patch.append({"op": "add", "path": f"/{part}/{VALUE}", "value": text})
    else:
        patch.append({"op": "test", "path": f"/{part}", "value": None})
        patch.append({"op": "add", "path": f"/{part}", "value": {VALUE: text}})
    return patch


def is_so(record: Record, where: Changes, revision: int | None) -> bool:
    """Whether a record fulfils the conditions of a change."""
    return revision in (None, record.revision) and all(
        record.fields.get(field) == text for field, text in where.items()
    )


def _place(kind: Kind, field: str) -> str:
    if kind is not Kind.NODE and field in _SPEC:
        return f"/spec/{_SPEC[field]}"
    return "/metadata/annotations/" + (PREFIX + field).replace("/", "~1")


def _typed(field: str, text: str) -> str | int:
    return int(text) if field in _NUMBERS else text


def _test(kind: Kind, field: str, text: str | None) -> dict[str, Any]:
    """Return the test that a field is so; a test for null passes where there is none."""
    place = _place(kind, field)
    typed = _typed(field, text) if text is not None and place.startswith("/spec") else text
    return {"op": "test", "path": place, "value": typed}


def _operations(kind: Kind, field: str, text: str | None) -> list[dict[str, Any]]:
    place = _place(kind, field)
    if place.startswith("/spec"):
        return [{"op": "add", "path": place, "value": None if text is None else _typed(field, text)}]
    if text is None:  # (what is not there can't be removed)
        return [{"op": "add", "path": place, "value": ""}, {"op": "remove", "path": place}]
    return [{"op": "add", "path": place, "value": text}]
