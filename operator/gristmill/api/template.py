"""What people may say about a worker's pod: an allow-list, so that a ChunkJob gives no more than a Job would give.

No host path, host namespace, privilege, command or security context: these are the operator's. References stay in
the namespace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field

from gristmill.api.metadata import LABEL_RULE, NAME_RULE, Key
from gristmill.api.rules import Model, Rule, at_most_one, exactly_one, matches
from gristmill.api.scalars import Flag, Quantity, amount

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
#: what a container can be given
_RESOURCE = "^(cpu|memory|ephemeral-storage|hugepages-.+|.+/.+)$"
#: folders that are the pod's own
_TMP, _KERNELS, _SHARED = "^/+tmp/*$", "^/+(proc|sys|dev)(/|$)", "^/+dev/+shm(/|$)"
#: labels of the Job controller's own
_JOBS_OWN = "^(batch.kubernetes.io/.*|controller-uid|job-name)$"
#: what was security context before it had fields
_SECURITY = "^([a-z.]+[.])?security[.](alpha|beta)[.]kubernetes[.]io/"


_COUNTED = Rule(
    "must have keys that are cpu, memory, ephemeral-storage, hugepages-... or have a domain, for example "
    "nvidia.com/gpu",
    f"self.all(key, key.matches('{_RESOURCE}'))",
    lambda mapping: all(re.search(_RESOURCE, key) for key in mapping),
)


class Resources(Model):
    """What a worker's container asks for, and what it may use at the most."""

    requests: Annotated[dict[Key, Quantity], Field(max_length=16), _COUNTED] = Field(default_factory=dict)
    limits: Annotated[dict[Key, Quantity], Field(max_length=16), _COUNTED] = Field(default_factory=dict)

    rules = (
        Rule(
            "must be at most limits",
            "!has(self.requests) || !has(self.limits) || self.requests.all(key, !(key in self.limits) || "
            "!isQuantity(string(self.requests[key])) || !isQuantity(string(self.limits[key])) || "
            "quantity(string(self.requests[key])).compareTo(quantity(string(self.limits[key]))) <= 0)",
            lambda spec: all(
                amount(given) <= amount(spec.limits[key])
                for key, given in spec.requests.items()
                if key in spec.limits
            ),
            at="requests",
        ),
    )


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
        Rule(
            "must have no part that is ..",
            "!self.split('/').exists(part, part == '..')",
            lambda path: ".." not in path.split("/"),
        ),
        Rule(
            "must not be /tmp, /proc, /sys, /dev or below the last three, which are the pod's own; /dev/shm may be",
            f"!self.matches('{_TMP}') && (!self.matches('{_KERNELS}') || self.matches('{_SHARED}'))",
            lambda path: (
                not re.search(_TMP, path)
                and (not re.search(_KERNELS, path) or re.search(_SHARED, path) is not None)
            ),
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

    rules = (
        Rule(
            "must be empty where operator is Exists",
            "self.operator != 'Exists' || !has(self.value) || self.value == ''",
            lambda spec: spec.operator != "Exists" or not spec.value,
            at="value",
        ),
        Rule(
            "must be Exists where there is no key",
            "self.operator == 'Exists' || (has(self.key) && self.key != '')",
            lambda spec: spec.operator == "Exists" or bool(spec.key),
            at="operator",
        ),
        Rule(
            "is for effect: NoExecute only",
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            lambda spec: spec.toleration_seconds is None or spec.effect == "NoExecute",
            at="tolerationSeconds",
        ),
    )


class Affinity(Model):
    """As in a pod."""

    node_affinity: dict[str, Any] | None = Field(None, description="As in a pod.")
    pod_affinity: dict[str, Any] | None = Field(None, description="As in a pod.")
    pod_anti_affinity: dict[str, Any] | None = Field(None, description="As in a pod.")


class PullSecret(Model):
    """A Secret of the job's namespace with which images are pulled."""

    name: ObjectName


def _no_key(pattern: str, sentence: str) -> Rule:
    """Return the rule that no key of a mapping matches a pattern."""
    return Rule(
        sentence,
        f"!self.exists(key, key.matches('{pattern}'))",
        lambda mapping: not any(re.search(pattern, key) for key in mapping),
    )


_OWN = Rule(
    f"must have no key that begins with {OWN_PREFIX}, which is Gristmill's own",
    f"!self.exists(key, key.startsWith('{OWN_PREFIX}'))",
    lambda mapping: not any(key.startswith(OWN_PREFIX) for key in mapping),
)


class WorkerTemplate(Model):
    """What is different about the worker's pods. As in a pod, but an allow-list."""

    labels: Annotated[
        dict[Key, _Label],
        Field(max_length=32),
        _OWN,
        _no_key(
            _JOBS_OWN,
            "must have no label of the Job's own: job-name, controller-uid, batch.kubernetes.io/...",
        ),
    ] = Field(default_factory=dict)
    annotations: Annotated[
        dict[Key, _Text],
        Field(max_length=32),
        _OWN,
        _no_key(_SECURITY, "must say nothing about security, which is Gristmill's own"),
    ] = Field(default_factory=dict)
    resources: Resources = Resources()
    env: list[EnvironmentVariable] = Field(default_factory=list, max_length=100)
    volumes: list[Volume] = Field(default_factory=list, max_length=20)
    volume_mounts: list[VolumeMount] = Field(default_factory=list, max_length=20)
    node_selector: Annotated[dict[Key, _Label], Field(max_length=32)] = Field(default_factory=dict)
    tolerations: list[Toleration] = Field(default_factory=list, max_length=20)
    affinity: Affinity | None = None
    priority_class_name: (
        Annotated[
            ObjectName,
            Rule(
                "must not begin with system-, which is for what Kubernetes itself needs",
                "!self.startsWith('system-')",
                lambda name: not name.startswith("system-"),
            ),
        ]
        | None
    ) = None
    runtime_class_name: ObjectName | None = None
    service_account_name: ObjectName | None = Field(
        None, description="Whoever writes this must be allowed to `use` the service account."
    )
    image_pull_secrets: list[PullSecret] = Field(default_factory=list, max_length=20)
    termination_grace_period_seconds: Annotated[int, Field(strict=True, ge=1, le=86_400)] = Field(
        30, description="How long a worker that is stopped may go on with the chunk that runs."
    )

    rules = (
        Rule(
            "must have each name once",
            "!has(self.volumes) || self.volumes.all(one, self.volumes.exists_one(other, other.name == one.name))",
            lambda spec: _differ(volume.name for volume in spec.volumes),
            at="volumes",
        ),
        Rule(
            "must have each mountPath once",
            "!has(self.volumeMounts) || self.volumeMounts.all(one, "
            "self.volumeMounts.exists_one(other, other.mountPath == one.mountPath))",
            lambda spec: _differ(mount.mount_path for mount in spec.volume_mounts),
            at="volumeMounts",
        ),
        Rule(
            "must have names that are in volumes",
            "!has(self.volumeMounts) || self.volumeMounts.all(mount, "
            "has(self.volumes) && self.volumes.exists(volume, volume.name == mount.name))",
            lambda spec: (
                {mount.name for mount in spec.volume_mounts} <= {volume.name for volume in spec.volumes}
            ),
            at="volumeMounts",
        ),
    )


def _differ(values: Iterable[str]) -> bool:
    found = list(values)
    return len(set(found)) == len(found)
