"""A Secret that lets people in: one of its values counts, whoever has written it, and the others follow it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from gristmill.api.names import GROUP
from gristmill.reconcilers.objects import metadata_of

#: an annotation of the Secret, as secret as its values: with it a fingerprint of one of them can be public
_SALT = f"{GROUP}/salt"


def access_secret(
    kind: str, owner: dict[str, Any], name: str, texts: Mapping[str, str], salt: str
) -> dict[str, Any]:
    """Return the Secret that lets people and jobs into what a resource is; `owner` is the resource's metadata."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {**metadata_of(kind, owner, name), "annotations": {_SALT: salt}},
        "type": "Opaque",
        "stringData": dict(texts),
    }


def mended(found: dict[str, Any], field: str, texts: Mapping[str, str], salt: str) -> dict[str, Any] | None:
    """Return a merge patch that makes a Secret whole, or None where it is.

    The text of `field` and the salt are for one that has none (any more); the others are what they must be.
    """
    wrong = {
        name: text
        for name, text in texts.items()
        if (not value_in(found, name) if name == field else value_in(found, name) != text.encode())
    }
    annotations = {} if _salt(found) else {_SALT: salt}
    if not wrong and not annotations:
        return None
    return {"metadata": {"annotations": annotations}, "stringData": wrong}


def value_in(found: dict[str, Any], key: str) -> bytes:
    """Return a value of a Secret; b"" where there is none."""
    return base64.b64decode((found.get("data") or {}).get(key) or "")


def fingerprint(found: dict[str, Any], field: str) -> str:
    """Return what is another one with another value, and does not help to guess it."""
    return hashlib.sha256(_salt(found).encode() + b"\0" + value_in(found, field)).hexdigest()[:16]


def _salt(found: dict[str, Any]) -> str:
    return str((found["metadata"].get("annotations") or {}).get(_SALT) or "")
