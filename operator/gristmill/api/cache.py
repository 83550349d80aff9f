"""Cache, the custom resource: a Valkey of a given capacity, and what it does when that is full or it restarts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gristmill.api.metadata import Metadata
from gristmill.api.resources import ResourcesSpec
from gristmill.api.rules import Model, Rule, compare, matches, on_change
from gristmill.api.scalars import Bytes, StorageClassName, between
from gristmill.api.status import Condition, Text

CACHE_NAME_RULE = matches(
    # a Service's name begins with a letter; a pod's label holds the StatefulSet's name and eleven characters more
    r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?",
    "must be a name of 1 to 52 lower-case letters, digits and dashes, with a letter at the start and no dash "
    "at the end",
)


class StorageSpec(Model):
    """The volume that the log and the users are on."""

    size: Annotated[Bytes, between("16Mi", "1Pi")] | None = Field(
        None, description="The volume's size; twice the capacity where it is not said. It never shrinks."
    )
    storage_class_name: StorageClassName | None = Field(
        None, description="The volume's StorageClass; the cluster's default where it is not said."
    )


_HAS_SIZE = "{0}.?storage.?size.hasValue()"
#: the volume's size as CEL tells it, written or not
_SIZE = (
    "(" + _HAS_SIZE + " ? quantity(string({0}.storage.size)) : "
    "quantity(string({0}.capacity)).add(quantity(string({0}.capacity))))"
)
_HAS_CLASS = "{0}.?storage.?storageClassName.hasValue()"
_FIXED = "can't change; make another Cache"


class CacheSpec(Model):
    """What the cache holds, and for how long."""

    capacity: Annotated[Bytes, between("16Mi", "1Ti")] = Field(
        description="The memory that keys and values may use, such as 512Mi."
    )
    eviction: Literal["lru", "lfu", "ttl", "none"] = Field(
        "lru",
        description="What goes when the capacity is used: the least recently used, the least often used, what "
        "expires soonest, or nothing, so that writes are refused.",
    )
    persistence: Literal["none", "log"] = Field(
        "none",
        description="What survives a restart: nothing, or all but the last second's writes. It never changes.",
    )
    storage: StorageSpec | None = Field(None, description="The volume; for persistence: log only.")
    resources: ResourcesSpec = ResourcesSpec()

    rules = (
        Rule(
            "is for persistence: log only; remove it, or write persistence: log",
            "self.persistence == 'log' || !has(self.storage)",
            lambda spec: spec.persistence == "log" or spec.storage is None,
            at="storage",
        ),
        Rule(
            "must be at least capacity",
            compare("storage.size", ">=", "capacity"),
            lambda spec: spec.storage_size >= spec.capacity,
            at="storage.size",
        ),
        Rule(
            "must be more than capacity",
            compare("resources.limits.memory", ">", "capacity"),
            lambda spec: spec.resources.limits.memory is None or spec.resources.limits.memory > spec.capacity,
            at="resources.limits.memory",
        ),
        on_change(_FIXED, "self.persistence == oldSelf.persistence", at="persistence"),
        on_change(
            _FIXED,
            f"{_HAS_CLASS.format('self')} == {_HAS_CLASS.format('oldSelf')} && (!{_HAS_CLASS.format('self')} || "
            "self.storage.storageClassName == oldSelf.storage.storageClassName)",
            at="storage.storageClassName",
        ),
        on_change(
            "can't shrink",
            f"!{_HAS_SIZE.format('self')} && !{_HAS_SIZE.format('oldSelf')} || "
            f"{_HAS_SIZE.format('self')} && !isQuantity(string(self.storage.size)) || "
            "!isQuantity(string(self.capacity)) || "
            f"{_SIZE.format('self')}.compareTo({_SIZE.format('oldSelf')}) >= 0",
            at="storage.size",
        ),
    )

    @property
    def storage_size(self) -> int:
        """The volume's bytes: a log that is rewritten is there twice for a while."""
        return (self.storage and self.storage.size) or 2 * self.capacity


class CacheMetadata(Metadata):
    """The cache's name and what people hang on it."""

    name: Annotated[str, CACHE_NAME_RULE]


class CacheStatus(Model):
    """Whether the cache answers, and where."""

    conditions: list[Condition] = Field(default_factory=list, max_length=20)
    endpoint: Text | None = Field(None, description="Where it answers, as host:port.")
    secret_name: Text | None = Field(None, description="The Secret with its password and url.")


class Cache(Model):
    """A Valkey that holds keys and values up to a capacity."""

    api_version: Literal["gristmill.dev/v1alpha1"]
    kind: Literal["Cache"]
    metadata: CacheMetadata
    spec: CacheSpec
    status: CacheStatus | None = None
