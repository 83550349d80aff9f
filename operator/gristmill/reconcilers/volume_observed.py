"""What is there of a FileVolume: what was made for it in Kubernetes, and what its masters say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gristmill.api.filevolume import FileVolume, FileVolumeSpec
from gristmill.api.names import GROUP, ConditionType
from gristmill.reconcilers.objects import is_owned
from gristmill.reconcilers.times import seconds_of
from gristmill.reconcilers.volume_access import Part, part_name
from gristmill.reconcilers.volume_topology import Topology

#: an annotation of a claim: its server has been emptied, and is to go
EMPTIED = f"{GROUP}/emptied"
#: an annotation of a claim: its server told of nothing and is gone, and yet there are files on the disk
HAS_FILES = f"{GROUP}/has-files"
#: an annotation of a claim: when the last look at the disk of a server that is gone could not be had
LOOK_FAILED = f"{GROUP}/inspect-failed"


@dataclass(frozen=True)
class VolumeObserved:
    """What is there. Objects are as the API server has them."""

    resource: dict[str, Any]
    #: by kind: those with the FileVolume's uid in their label
    objects: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    #: those with the FileVolume's name in their label, of earlier ones too
    claims: Sequence[dict[str, Any]] = ()
    #: the fingerprint of the key
    key: str = ""
    #: None where no master answers
    topology: Topology | None = None
    #: volumes of SeaweedFS on the last server by its own word; None where it was not asked, or does not answer
    on_last: int | None = None
    #: the ChunkJobs that read or write it, and have not ended
    users: Sequence[str] = ()

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The FileVolume's own."""
        return dict(self.resource["metadata"])

    @cached_property
    def spec(self) -> FileVolumeSpec:
        """What the FileVolume says."""
        said = {key: value for key, value in self.resource.items() if key != "status"}
        return FileVolume.model_validate(said).spec

    @property
    def is_leaving(self) -> bool:
        """Whether it is deleted, and no ChunkJob keeps it any more."""
        return bool(self.metadata.get("deletionTimestamp")) and not self.users

    def owned(self, kind: str) -> list[dict[str, Any]]:
        """Return the objects of a kind that are the FileVolume's own: anybody can write its label on theirs."""
        return [one for one in self.objects.get(kind, ()) if is_owned(one, self.metadata["uid"])]

    def set_of(self, part: Part) -> dict[str, Any] | None:
        """Return the StatefulSet of a part."""
        name = part_name(self.metadata["name"], part)
        return next((one for one in self.owned("StatefulSet") if one["metadata"]["name"] == name), None)

    def pods_of(self, part: Part) -> list[dict[str, Any]]:
        """Return the pods of a part."""
        owner = self.set_of(part)
        if owner is None:
            return []
        uid = owner["metadata"]["uid"]
        return [pod for pod in self.objects.get("Pod", ()) if is_owned(pod, uid)]

    def chore(self) -> dict[str, Any] | None:
        """Return the Job that does a chore, or has done it."""
        name = part_name(self.metadata["name"], Part.CHORE)
        return next((one for one in self.owned("Job") if one["metadata"]["name"] == name), None)

    def claims_of(self, part: Part) -> dict[int, dict[str, Any]]:
        """Return the claims of a part, by the number of the pod that they are for."""
        form = re.compile(rf"data-{re.escape(part_name(self.metadata['name'], part))}-(0|[1-9][0-9]*)")
        matches = ((form.fullmatch(one["metadata"]["name"]), one) for one in self.claims)
        return {int(match[1]): one for match, one in matches if match}

    def condition(self, kind: ConditionType) -> dict[str, Any]:
        """Return a condition as it was written last; {} where it never was."""
        conditions = (self.resource.get("status") or {}).get("conditions") or ()
        return next((one for one in conditions if one["type"] == kind), {})


def replicas_of(found: dict[str, Any] | None) -> int:
    """Return how many pods a StatefulSet asks for."""
    return 0 if found is None else int(found["spec"].get("replicas") or 0)


def is_emptied(claim: dict[str, Any]) -> bool:
    """Whether a claim is that of a server that has been emptied."""
    return EMPTIED in (claim["metadata"].get("annotations") or {})


def has_files(claim: dict[str, Any]) -> bool:
    """Whether files were seen on the disk of a server that told of nothing."""
    return HAS_FILES in (claim["metadata"].get("annotations") or {})


def look_failed_at(claim: dict[str, Any]) -> float | None:
    """Return when a look at the disk of a server that is gone could not be had; None: that never was so."""
    said = (claim["metadata"].get("annotations") or {}).get(LOOK_FAILED)
    try:
        return seconds_of(said)
    except ValueError:  # (somebody has written it)
        return 0.0


def is_pending(claim: dict[str, Any]) -> bool:
    """Whether there never was a disk for a claim."""
    return (claim.get("status") or {}).get("phase") == "Pending"


def is_going(claim: dict[str, Any]) -> bool:
    """Whether a claim is being deleted."""
    return bool(claim["metadata"].get("deletionTimestamp"))
