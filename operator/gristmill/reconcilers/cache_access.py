"""The way into a Cache: where it answers, and the Secret with its password.

The password in the Secret is the one that counts, whoever has written it: the URL and the pod follow it.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import quote

from gristmill.api.names import CACHE_KIND, GROUP
from gristmill.reconcilers.objects import metadata_of

PORT = 6379
#: an annotation of the Secret, as secret as the password: with it a fingerprint of the password can be public
_SALT = f"{GROUP}/salt"


def endpoint(name: str, namespace: str) -> str:
    """Return where a Cache answers, as host:port."""
    return f"{name}.{namespace}.svc:{PORT}"


def secret_name(name: str) -> str:
    """Return the name of a Cache's Secret."""
    return f"{name}-auth"


def secret(cache: dict[str, Any], password: str, salt: str) -> dict[str, Any]:
    """Return the Secret that lets people and jobs into a Cache."""
    metadata = cache["metadata"]
    made = metadata_of(CACHE_KIND, metadata, secret_name(metadata["name"]))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {**made, "annotations": {_SALT: salt}},
        "type": "Opaque",
        "stringData": {"password": password, "url": _url(metadata, password.encode())},
    }


def mending(cache: dict[str, Any], found: dict[str, Any], password: str, salt: str) -> dict[str, Any] | None:
    """Return a merge patch that makes a Cache's Secret whole, or None where it is.

    Password and salt are for a Secret that has none (any more).
    """
    given = password_in(found)
    url = _url(cache["metadata"], given or password.encode())
    texts = {} if given else {"password": password}
    if _value(found, "url") != url.encode():
        texts["url"] = url
    annotations = {} if _salt(found) else {_SALT: salt}
    if not texts and not annotations:
        return None
    return {"metadata": {"annotations": annotations}, "stringData": texts}


def password_in(found: dict[str, Any]) -> bytes:
    """Return the password in a Cache's Secret; b"" where there is none."""
    return _value(found, "password")


def fingerprint(found: dict[str, Any]) -> str:
    """Return what is another one with another password, and does not help to guess it."""
    return hashlib.sha256(_salt(found).encode() + b"\0" + password_in(found)).hexdigest()[:16]


def _url(metadata: dict[str, Any], password: bytes) -> str:
    return f"redis://default:{quote(password, safe='')}@{endpoint(metadata['name'], metadata['namespace'])}"


def _salt(found: dict[str, Any]) -> str:
    return str((found["metadata"].get("annotations") or {}).get(_SALT) or "")


def _value(found: dict[str, Any], key: str) -> bytes:
    return base64.b64decode((found.get("data") or {}).get(key) or "")
