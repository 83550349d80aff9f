"""How a StatefulSet that is there becomes as it is wanted; its claims, which it can't change, grow on their own."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from gristmill.api.names import GROUP
from gristmill.api.quantity import format_quantity, parse_quantity

#: an annotation of a StatefulSet: a digest of the template that it was last given
_TEMPLATE = f"{GROUP}/template"
#: what may change of a StatefulSet
_CHANGEABLE = ("replicas", "template", "persistentVolumeClaimRetentionPolicy")


def template_annotation(template: dict[str, Any]) -> dict[str, str]:
    """Return the annotation that tells which template a StatefulSet was given."""
    digest = hashlib.sha256(orjson.dumps(template, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    return {_TEMPLATE: digest}


def change(observed: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any] | None:
    """Return a merge patch that makes a StatefulSet as it is wanted, or None where it is.

    The digest tells of what was wanted before and is not any more, the rest of what somebody else has changed. A merge
    patch replaces lists as a whole, so what a container has no more is taken away.
    """
    given = (observed["metadata"].get("annotations") or {}).get(_TEMPLATE)
    annotations = wanted["metadata"]["annotations"]
    spec = {name: wanted["spec"][name] for name in _CHANGEABLE if name in wanted["spec"]}
    if given == annotations[_TEMPLATE] and _contains(observed["spec"], spec):
        return None
    return {"metadata": {"annotations": annotations}, "spec": spec}


def enlarged(claim: dict[str, Any], size: int) -> dict[str, Any] | None:
    """Return how a claim is to be patched so that its volume has so many bytes; None: it is as large."""
    asked = size_asked(claim)
    if asked is None or asked >= size:  # (a volume can't shrink)
        return None
    return {"spec": {"resources": {"requests": {"storage": format_quantity(size)}}}}


def size_asked(claim: dict[str, Any]) -> int | None:
    """Return the bytes that a claim asks for; None where somebody has changed it to a quantity of another form."""
    try:
        return parse_quantity(claim["spec"]["resources"]["requests"]["storage"])
    except ValueError:
        return None


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
