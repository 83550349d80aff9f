"""The way into a Cache: where it answers, and the Secret with its password.

The password in the Secret is the one that counts, whoever has written it: the URL and the pod follow it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from gristmill.api.names import CACHE_KIND
from gristmill.reconcilers import access_secrets

PORT = 6379
_FIELD = "password"


def endpoint(name: str, namespace: str) -> str:
    """Return where a Cache answers, as host:port."""
    return f"{name}.{namespace}.svc:{PORT}"


def secret_name(name: str) -> str:
    """Return the name of a Cache's Secret."""
    return f"{name}-auth"


def secret(cache: dict[str, Any], password: str, salt: str) -> dict[str, Any]:
    """Return the Secret that lets people and jobs into a Cache."""
    metadata = cache["metadata"]
    texts = {_FIELD: password, "url": _url(metadata, password.encode())}
    return access_secrets.access_secret(CACHE_KIND, metadata, secret_name(metadata["name"]), texts, salt)


def mending(cache: dict[str, Any], found: dict[str, Any], password: str, salt: str) -> dict[str, Any] | None:
    """Return a merge patch that makes a Cache's Secret whole, or None where it is.

    Password and salt are for a Secret that has none (any more).
    """
    url = _url(cache["metadata"], password_in(found) or password.encode())
    return access_secrets.mended(found, _FIELD, {_FIELD: password, "url": url}, salt)


def password_in(found: dict[str, Any]) -> bytes:
    """Return the password in a Cache's Secret; b"" where there is none."""
    return access_secrets.value_in(found, _FIELD)


def fingerprint(found: dict[str, Any]) -> str:
    """Return what is another one with another password, and does not help to guess it."""
    return access_secrets.fingerprint(found, _FIELD)


def _url(metadata: dict[str, Any], password: bytes) -> str:
    return f"redis://default:{quote(password, safe='')}@{endpoint(metadata['name'], metadata['namespace'])}"
