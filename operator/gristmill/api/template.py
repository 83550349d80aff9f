"""What people may say about a worker's pod: an allow-list, so that a ChunkJob gives no more than a Job would give.

No host path, host namespace, privilege, command or security context: these are the operator's. References stay in
the namespace.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gristmill.api.metadata import LABEL_RULE, NAME_RULE, Key
from gristmill.api.rules import Model, Rule, at_most_one, exactly_one, matches
from gristmill.api.scalars import Flag, Quantity

#: labels and annotations below this prefix are Gristmill's own
OWN_PREFIX = "gristmill.dev/"
#: environment variables below this prefix are Gristmill's own
OWN_VARIABLES = "GRISTMILL_"

_DNS = matches(
    r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?",
    "must be a name of lower-case letters, digits, dashes and dots, with a letter or digit at both ends",
)
ObjectName = Annotated[str, Field(max_length=253), _DNS]
DataKey = Annotated[
    str,
    Field(max_length=253),
    matches(r"[-._a-zA-Z0-9]+", "must be a key of letters, digits, dashes, underscores and dots"),
]
_Label = Annotated[str, Field(max_length=63), LABEL_RULE]
_VolumeName = Annotated[str, Field(max_length=63), NAME_RULE]
_Text = Annotated[str, Field(max_length=4096)]
_Word = Annotated[str, Field(max_length=253)]


class Resources(Model):
    """What a worker's container asks for, and what it may use at the most."""

    requests: dict[Key, Quantity] = Field(default_factory=dict, max_length=16)
    limits: dict[Key, Quantity] = Field(default_factory=dict, max_length=16)


class KeyReference(Model):
    """A key of a Secret or ConfigMap in the job's namespace."""

    name: ObjectName
    key: DataKey
    optional: Flag = False


class ValueFrom(Model):
    """Where the value of an environment variable comes from."""

    secret_key_ref: KeyReference | None = None
    config_map_key_ref: KeyReference | None = None

    rules = (exactly_one("secretKeyRef", "configMapKeyRef"),)


class EnvironmentVariable(Model):
    """An environment variable of the worker, which the user's code sees."""

    name: Annotated[
        str,
        Field(max_length=253),
        matches(r"[A-Za-z_][A-Za-z0-9_]*", "must be a name of letters, digits and underscores"),
        Rule(
            f"must not begin with {OWN_VARIABLES}, which is the worker's own",
            f"!self.startsWith('{OWN_VARIABLES}')",
            lambda name: not name.startswith(OWN_VARIABLES),
        ),
    ]
    value: Annotated[str, Field(max_length=32_768)] | None = None
    value_from: ValueFrom | None = None

    rules = (at_most_one("value", "valueFrom"),)


class EmptyDir(Model):
    """A folder that lives as long as the pod."""

    medium: Literal["", "Memory"] = ""
    size_limit: Quantity | None = None


class ConfigMapVolume(Model):
    """A ConfigMap of the job's namespace as files."""

    name: ObjectName
    optional: Flag = False


class SecretVolume(Model):
    """A Secret of the job's namespace as files."""

    secret_name: ObjectName
    optional: Flag = False


class ClaimVolume(Model):
    """A PersistentVolumeClaim of the job's namespace."""

    claim_name: ObjectName
    read_only: Flag = False


class Volume(Model):
    """A volume of the worker's pod, of one of the harmless kinds."""

    name: Annotated[
        _VolumeName,
        Rule(
            "must not begin with gristmill-, which is the worker's own",
            "!self.startsWith('gristmill-')",
            lambda name: not name.startswith("gristmill-"),
        ),
    ]
    empty_dir: EmptyDir | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    persistent_volume_claim: ClaimVolume | None = None

    rules = (exactly_one("emptyDir", "configMap", "secret", "persistentVolumeClaim"),)


class VolumeMount(Model):
    """Where a volume is seen in the worker's container."""

    name: _VolumeName
    mount_path: Annotated[
        str,
        Field(max_length=1024),
        Rule(
            "must be an absolute path without a colon, and not /",
            "self.startsWith('/') && size(self) > 1 && !self.contains(':')",
            lambda path: path.startswith("/") and len(path) > 1 and ":" not in path,
        ),
    ]
    sub_path: (
        Annotated[
            str,
            Field(max_length=1024),
            Rule(
                "must be a relative path that does not lead out of the volume",
                "!self.startsWith('/') && !self.split('/').exists(part, part == '..')",
                lambda path: not path.startswith("/") and ".." not in path.split("/"),
            ),
        ]
        | None
    ) = None
    read_only: Flag = False


class Toleration(Model):
    """As in a pod."""

    key: _Word | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: _Word | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: Annotated[int, Field(strict=True, ge=0)] | None = None


class PullSecret(Model):
    """A Secret of the job's namespace with which images are pulled."""

    name: ObjectName


_KUBERNETES_OWN = Rule(
    f"must have no key that begins with {OWN_PREFIX}, which is Gristmill's own",
    f"!self.exists(key, key.startsWith('{OWN_PREFIX}'))",
    lambda mapping: not any(key.startswith(OWN_PREFIX) for key in mapping),
)


class WorkerTemplate(Model):
    """What is different about the worker's pods. As in a pod, but an allow-list."""

    labels: Annotated[dict[Key, _Label], Field(max_length=32), _KUBERNETES_OWN] = Field(default_factory=dict)
    annotations: Annotated[dict[Key, _Text], Field(max_length=32), _KUBERNETES_OWN] = Field(
        default_factory=dict
    )
    resources: Resources = Resources()
    env: list[EnvironmentVariable] = Field(default_factory=list, max_length=100)
    volumes: list[Volume] = Field(default_factory=list, max_length=20)
    volume_mounts: list[VolumeMount] = Field(default_factory=list, max_length=20)
    node_selector: Annotated[dict[Key, _Label], Field(max_length=32)] = Field(default_factory=dict)
    tolerations: list[Toleration] = Field(default_factory=list, max_length=20)
    affinity: dict[str, Any] | None = Field(None, description="As in a pod.")
    priority_class_name: ObjectName | None = None
    runtime_class_name: ObjectName | None = None
    service_account_name: ObjectName | None = Field(
        None, description="Whoever writes this must be allowed to `use` the service account."
    )
    image_pull_secrets: list[PullSecret] = Field(default_factory=list, max_length=20)
    termination_grace_period_seconds: Annotated[int, Field(strict=True, ge=1, le=86_400)] = Field(
        30, description="How long a worker that is stopped may go on with the chunk that runs."
    )
