"""FileVolume, the custom resource: files on servers of its own, each on some of them, and what becomes of the disks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from gristmill.api.metadata import Metadata
from gristmill.api.quantity import parse_quantity
from gristmill.api.resources import ResourcesSpec
from gristmill.api.rules import Model, Rule, matches, on_change
from gristmill.api.scalars import Bytes, StorageClassName, Tally, between
from gristmill.api.status import Condition, Text

FILE_VOLUME_NAME_RULE = matches(
    # a pod's label holds the StatefulSet's name (this and `-master`) and eleven characters more
    r"[a-z]([-a-z0-9]{0,43}[a-z0-9])?",
    "must be a name of 1 to 45 lower-case letters, digits and dashes, with a letter at the start and no dash "
    "at the end",
)

#: the most servers that a FileVolume has
MOST_SERVERS = 100
#: what the filer's claim and a master's ask for where nobody says more
_SMALL = "1Gi"
_FIXED = "can't change; make another FileVolume, and copy the files"


def _is_set(owner: str, field: str) -> str:
    return f"{owner}.?{field.replace('.', '.?')}.hasValue()"


def _fixed(field: str) -> Rule:
    """Return the rule that a field, set or not, stays as it was."""
    now, before = _is_set("self", field), _is_set("oldSelf", field)
    return on_change(_FIXED, f"{now} == {before} && (!{now} || self.{field} == oldSelf.{field})", at=field)


def _grows(field: str, otherwise: str) -> Rule:
    """Return the rule that a quantity, or what it is where it is not set, does not become less.

    What is none is refused elsewhere.
    """
    now, before = (
        f"({_is_set(owner, field)} ? quantity(string({owner}.{field})) : quantity('{otherwise}'))"
        for owner in ("self", "oldSelf")
    )
    wrong = f"{_is_set('self', field)} && !isQuantity(string(self.{field}))"
    return on_change("can't shrink", f"{wrong} || {now}.compareTo({before}) >= 0", at=field)


class FilerSpec(Model):
    """The volume that the names of the files are on, of which there is one."""

    size: Annotated[Bytes, between("256Mi", "1Ti")] | None = Field(
        None, description="The volume's size; 1Gi where it is not said. It never shrinks."
    )
    storage_class_name: StorageClassName | None = Field(
        None,
        description="Its StorageClass; that of the servers where it is not said. Names are as durable as it is.",
    )


class FileVolumeSpec(Model):
    """How much is kept, on how many servers, how often, and what remains of it."""

    storage: Annotated[Bytes, between("512Mi", "64Ti")] = Field(
        description="The disk of each server, such as 100Gi. It never shrinks."
    )
    servers: Annotated[int, Strict(), Field(ge=2, le=MOST_SERVERS)] = Field(
        4, description="Servers; more than copies, so that writes go on when one is gone."
    )
    copies: Annotated[int, Strict(), Field(ge=1, le=5)] = Field(
        3, description="Servers that have each file. It never changes."
    )
    masters: Annotated[
        int, Strict(), Rule("must be 1 or 3", "self == 1 || self == 3", lambda masters: masters in (1, 3))
    ] = Field(
        1,
        description="Masters, which know what each server has: 1, or 3 of which one may be gone. It never changes.",
    )
    storage_class_name: StorageClassName | None = Field(
        None, description="The StorageClass of all disks; the cluster's default where it is not said."
    )
    topology_key: (
        Annotated[
            str,
            Field(max_length=317),
            matches(
                r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?",
                "must be the key of a node's label, for example kubernetes.io/hostname",
            ),
        ]
        | None
    ) = Field(
        None,
        description="A label of nodes: no two servers are where it has the same value. Where it is not said, they are "
        "on different nodes as far as there are enough.",
    )
    deletion_policy: Literal["Retain", "Delete"] = Field(
        "Retain", description="What becomes of the disks, and all files, when the FileVolume is deleted."
    )
    filer: FilerSpec = FilerSpec()
    resources: ResourcesSpec = ResourcesSpec()

    rules = (
        Rule(
            "must be more than copies, so that writes go on when a server is gone",
            "self.servers > self.copies",
            lambda spec: spec.servers > spec.copies,
            at="servers",
        ),
        _grows("storage", "0"),
        _grows("filer.size", _SMALL),
        _fixed("copies"),
        _fixed("masters"),
        _fixed("storageClassName"),
        _fixed("topologyKey"),
        _fixed("filer.storageClassName"),
    )

    @property
    def filer_size(self) -> int:
        """The bytes of the filer's volume."""
        return self.filer.size or parse_quantity(_SMALL)

    @property
    def master_size(self) -> int:
        """The bytes of a master's volume."""
        return parse_quantity(_SMALL)


class FileVolumeMetadata(Metadata):
    """The volume's name and what people hang on it."""

    name: Annotated[str, FILE_VOLUME_NAME_RULE]


Size = Annotated[str, Field(max_length=32)]


class FileVolumeStatus(Model):
    """Whether files can be read and written, how many there are, and what lacks copies."""

    conditions: list[Condition] = Field(default_factory=list, max_length=20)
    servers: Tally | None = Field(None, description="Servers that the masters know to be there.")
    used: Size | None = Field(None, description="Bytes that are kept, copies not counted.")
    free: Size | None = Field(None, description="Bytes for which there is room, with their copies.")
    files: Tally | None = Field(None, description="Objects that are kept, copies not counted.")
    under_replicated: Tally | None = Field(None, description="Parts of the store that lack copies.")
    endpoint: Text | None = Field(None, description="Where it answers to who has the key, as host:port.")
    secret_name: Text | None = Field(None, description="The Secret with its url and key.")


class FileVolume(Model):
    """Files on servers of its own, each on as many of them as `copies` says."""

    api_version: Literal["gristmill.dev/v1alpha1"]
    kind: Literal["FileVolume"]
    metadata: FileVolumeMetadata
    spec: FileVolumeSpec
    status: FileVolumeStatus | None = None
