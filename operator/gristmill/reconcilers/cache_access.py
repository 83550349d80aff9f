"""The way into a Cache: where it answers, and the Secret with its password."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from gristmill.api.names import CACHE_KIND
from gristmill.reconcilers.objects import metadata_of

PORT = 6379


def endpoint(name: str, namespace: str) -> str:
    """Return where a Cache answers, as host:port."""
    return f"{name}.{namespace}.svc:{PORT}"


def secret_name(name: str) -> str:
    """Return the name of a Cache's Secret."""
    return f"{name}-auth"


def secret(cache: dict[str, Any], password: str) -> dict[str, Any]:
    """Return the Secret that lets people and jobs into a Cache."""
    metadata = cache["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata_of(CACHE_KIND, metadata, secret_name(name)),
        "type": "Opaque",
        "stringData": {
            "password": password,
            "url": f"redis://default:{quote(password, safe='')}@{endpoint(name, namespace)}",
        },
    }
