"""The FileVolumes that a ChunkJob reads or writes, by the URLs in its spec."""

from __future__ import annotations

import re
from typing import Any

from gristmill.api.names import ConditionType
from gristmill.reconcilers.volume_access import access_name
from gristmill.volumes.filer.places import SECRETS

_URL = re.compile(r"volume://([a-z0-9][-a-z0-9]*)(/|$)")


def volumes_of(spec: dict[str, Any]) -> list[str]:
    """Return the names of the FileVolumes that a spec names, each once."""
    given = spec.get("input") or {}
    places = [given.get("lines"), given.get("files"), spec.get("output")]
    urls = (str((place or {}).get("url") or "") for place in places)
    return sorted({match[1] for match in map(_URL.match, urls) if match})


def uses(job: dict[str, Any], volume: str) -> bool:
    """Whether a ChunkJob may still read or write a volume: it has not ended, or what it left is being removed."""
    if volume not in volumes_of(job["spec"]):
        return False
    ended = any(
        condition["type"] in (ConditionType.COMPLETE, ConditionType.FAILED) and condition["status"] == "True"
        for condition in (job.get("status") or {}).get("conditions") or ()
    )
    return not ended or bool(job["metadata"].get("deletionTimestamp"))


def mounts_of(names: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a pod's volumes and mounts with which its workers get into these FileVolumes."""
    volumes = [
        {"name": f"gristmill-volume-{number}", "secret": {"secretName": access_name(name)}}
        for number, name in enumerate(names)
    ]
    mounts = [
        {"name": f"gristmill-volume-{number}", "mountPath": f"{SECRETS}/{name}", "readOnly": True}
        for number, name in enumerate(names)
    ]
    return volumes, mounts
