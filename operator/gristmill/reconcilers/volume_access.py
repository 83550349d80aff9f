"""The way into a FileVolume: its names and ports, and the Secret with the key without which nobody reads or writes."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from gristmill.api.names import FILE_VOLUME_KIND, GROUP
from gristmill.reconcilers import access_secrets
from gristmill.volumes.filer.places import SECRET_SUFFIX

_FIELD = "key"
#: a label of a FileVolume's pods: which of its parts they are
PART = f"{GROUP}/part"


class Part(StrEnum):
    """The kinds of pods that a FileVolume has."""

    MASTER = "master"
    SERVER = "server"
    FILER = "filer"
    CHORE = "chore"


#: where each answers by HTTP; by gRPC 10,000 above that
PORTS = {Part.MASTER: 9333, Part.SERVER: 8080, Part.FILER: 8888}


def access_name(name: str) -> str:
    """Return the name of the Secret of a FileVolume, and of the Service where clients find it."""
    return f"{name}{SECRET_SUFFIX}"


def part_name(name: str, part: Part) -> str:
    """Return the name of what a part of a FileVolume is made of: its StatefulSet, its Service; or its Job."""
    return f"{name}-{part}"


def pod_name(name: str, part: Part, ordinal: int) -> str:
    """Return the name of a pod of a part."""
    return f"{part_name(name, part)}-{ordinal}"


def host_of(owner: dict[str, Any], part: Part, pod: str) -> str:
    """Return the name by which a pod of a part is found; of SeaweedFS it is the address, too."""
    return f"{pod}.{part_name(owner['name'], part)}.{owner['namespace']}.svc"


def endpoint(name: str, namespace: str) -> str:
    """Return where a FileVolume answers, as host:port."""
    return f"{access_name(name)}.{namespace}.svc:{PORTS[Part.FILER]}"


def secret(volume: dict[str, Any], key: str, salt: str) -> dict[str, Any]:
    """Return the Secret that lets people and jobs into a FileVolume."""
    metadata = volume["metadata"]
    texts = _texts(metadata, key)
    return access_secrets.access_secret(
        FILE_VOLUME_KIND, metadata, access_name(metadata["name"]), texts, salt
    )


def mending(volume: dict[str, Any], found: dict[str, Any], key: str, salt: str) -> dict[str, Any] | None:
    """Return a merge patch that makes a FileVolume's Secret whole, or None where it is.

    Key and salt are for a Secret that has none (any more).
    """
    return access_secrets.mended(found, _FIELD, _texts(volume["metadata"], key), salt)


def fingerprint(found: dict[str, Any]) -> str:
    """Return what is another one with another key, and does not help to guess it."""
    return access_secrets.fingerprint(found, _FIELD)


def _texts(metadata: dict[str, Any], key: str) -> dict[str, str]:
    return {_FIELD: key, "url": f"http://{endpoint(metadata['name'], metadata['namespace'])}"}
