"""Which objects the operator watches: all of its own kinds, and of other kinds those that have its labels."""

from __future__ import annotations

from typing import Any

from gristmill.api.names import CACHE_KIND, FILE_VOLUME_KIND, GROUP, KIND
from gristmill.reconcilers.objects import UID

#: names of a ChunkJob and of a Cache, at what is theirs
JOB_LABEL = f"{GROUP}/{KIND.lower()}"
CACHE_LABEL = f"{GROUP}/{CACHE_KIND.lower()}"
#: of each kind the labels by which the API server chooses
WATCHED: dict[str, tuple[str, ...]] = {
    KIND: (),
    CACHE_KIND: (),
    FILE_VOLUME_KIND: (),
    "Job": (JOB_LABEL, UID),
    "Pod": (JOB_LABEL, UID),
    "StatefulSet": (CACHE_LABEL,),
}


def selector_of(kind: str) -> str:
    """Return the label selector of a kind that is watched; "" where all its objects are."""
    return ",".join(WATCHED[kind])


def is_watched(kind: str, found: dict[str, Any]) -> bool:
    """Whether a watch tells of an object as it is now: anybody who may change it can take its labels away."""
    labels = found["metadata"].get("labels") or {}
    return kind in WATCHED and all(label in labels for label in WATCHED[kind])
