"""Cache, the custom resource: a Valkey of a given capacity, and what it does when that is full or it restarts."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from gristmill.api.metadata import Metadata
from gristmill.api.rules import Model, Rule, matches, refusal
from gristmill.api.scalars import Bytes, between
from gristmill.api.status import Condition, Text
from gristmill.api.words import shown

CACHE_NAME_RULE = matches(
    # a Service's name begins with a letter; a pod's label holds the StatefulSet's name and eleven characters more
    r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?",
    "must be a name of 1 to 52 lower-case letters, digits and dashes, with a letter at the start and no dash "
    "at the end",
)

_CPU = r"[0-9]{1,3}(\.[0-9]{1,3})?|[0-9]{1,6}m"
_CPU_SENTENCE = "must be a number of processors, more than 0 and less than 1000, or a quantity such as 500m"


def processors(value: int | str) -> Fraction:
    """Return the processors that a quantity means: a half for 500m."""
    text = str(value)
    return Fraction(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)


def _is_cpu(value: Any) -> Any:
    if isinstance(value, str):
        holds = re.fullmatch(_CPU, value, re.ASCII) is not None and processors(value) > 0
    else:
        holds = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 999
    if not holds:
        quotes = "; put it in quotes" if isinstance(value, float) else ""
        raise refusal(("", f"{_CPU_SENTENCE}, got {shown(value)}{quotes}"))
    return value


_CPU_RULE = {
    "rule": "type(self) == int ? self >= 1 && self <= 999 : "
    f"self.matches(r'^(?:{_CPU})$') && quantity(self).isGreaterThan(quantity('0'))",
    "message": _CPU_SENTENCE,
}
Cpu = Annotated[
    int | str,
    BeforeValidator(_is_cpu),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "maxLength": 16, "x-kubernetes-validations": [_CPU_RULE]}
    ),
]


def _compare(left: str, comparison: str, right: str) -> str:
    """Return the CEL that two quantities compare so, where both are set; what is none is refused elsewhere."""
    unset = (f"!self.{path.replace('.', '.?')}.hasValue()" for path in (f"?{left}", f"?{right}"))
    wrong = (f"!isQuantity(string(self.{path}))" for path in (left, right))
    holds = f"quantity(string(self.{left})).compareTo(quantity(string(self.{right}))) {comparison} 0"
    return " || ".join((*unset, *wrong, holds))


def _on_change(sentence: str, cel: str, at: str) -> Rule:
    """Return a rule about what was there before, which only the API server knows."""
    return Rule(sentence, cel, lambda _: True, at=at)


class ComputeResources(Model):
    """Processors and memory."""

    cpu: Cpu | None = Field(None, description="Processors, such as 500m or 2.")
    memory: Annotated[Bytes, between("16Mi", "16Ti")] | None = Field(
        None, description="Memory, such as 512Mi."
    )


class ResourcesSpec(Model):
    """What the server's container is given, as in a pod."""

    requests: ComputeResources = ComputeResources()
    limits: ComputeResources = ComputeResources()

    rules = (
        Rule(
            "must be at most limits.cpu",
            _compare("requests.cpu", "<=", "limits.cpu"),
            lambda spec: (
                spec.requests.cpu is None
                or spec.limits.cpu is None
                or processors(spec.requests.cpu) <= processors(spec.limits.cpu)
            ),
            at="requests.cpu",
        ),
        Rule(
            "must be at most limits.memory",
            _compare("requests.memory", "<=", "limits.memory"),
            lambda spec: (
                spec.requests.memory is None
                or spec.limits.memory is None
                or spec.requests.memory <= spec.limits.memory
            ),
            at="requests.memory",
        ),
    )


class StorageSpec(Model):
    """The volume that the log and the users are on."""

    size: Annotated[Bytes, between("16Mi", "1Pi")] | None = Field(
        None, description="The volume's size; twice the capacity where it is not said. It never shrinks."
    )
    storage_class_name: (
        Annotated[
            str,
            Field(max_length=253),
            matches(
                r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?",
                "must be the name of a StorageClass: lower-case letters, digits, dashes and dots",
            ),
        ]
        | None
    ) = Field(None, description="The volume's StorageClass; the cluster's default where it is not said.")


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
            _compare("storage.size", ">=", "capacity"),
            lambda spec: spec.storage_size >= spec.capacity,
            at="storage.size",
        ),
        Rule(
            "must be more than capacity",
            _compare("resources.limits.memory", ">", "capacity"),
            lambda spec: spec.resources.limits.memory is None or spec.resources.limits.memory > spec.capacity,
            at="resources.limits.memory",
        ),
        _on_change(_FIXED, "self.persistence == oldSelf.persistence", at="persistence"),
        _on_change(
            _FIXED,
            f"{_HAS_CLASS.format('self')} == {_HAS_CLASS.format('oldSelf')} && (!{_HAS_CLASS.format('self')} || "
            "self.storage.storageClassName == oldSelf.storage.storageClassName)",
            at="storage.storageClassName",
        ),
        _on_change(
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
