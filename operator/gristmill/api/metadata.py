"""The part of Kubernetes' ObjectMeta that people write; what a server adds is accepted and forgotten.

So a manifest that came out of `kubectl get -o yaml` runs as it is.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from gristmill.api.rules import Model, matches

_SET_BY_SERVERS = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
NAME_RULE = matches(
    r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
    "must be a name of 1 to 63 lower-case letters, digits and dashes, with a letter or digit at both ends",
)
_KEY = matches(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?",
    "must have a key as Kubernetes allows it, for example team or example.com/team",
)
LABEL_RULE = matches(
    r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?",
    "must be at most 63 letters, digits, dashes, underscores and dots, with a letter or digit at both ends",
)
Name = Annotated[str, NAME_RULE]
Key = Annotated[str, _KEY]


class Metadata(Model):
    """The job's name and what people hang on it."""

    name: Name
    namespace: Name | None = None
    labels: dict[Key, Annotated[str, LABEL_RULE]] = Field(default_factory=dict)
    annotations: dict[Key, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _forget_what_servers_set(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if key not in _SET_BY_SERVERS}
