"""The pods of a FileVolume: SeaweedFS's masters, servers and filer, and the one that does a chore.

All of them have the key; what asks for it is open to everybody, by HTTP, and the rest to these pods only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from gristmill.api.filevolume import FileVolumeSpec
from gristmill.api.names import FILE_VOLUME_KIND, GROUP
from gristmill.reconcilers.objects import CONTAINER_SECURITY, given, labels_of, pod_security
from gristmill.reconcilers.volume_access import PART, PORTS, Part, access_name, host_of, pod_name

#: the user of SeaweedFS's images
_USER = 1000
_DATA = "/data"
#: the exit code of a look at a disk where files were found; `weed` and `find` end with no such code
FILES_FOUND = 42
#: it passes over what is on the disk of a server that never had a file, or has been emptied
_INSPECT = f"""
found=$(find {_DATA} -path {_DATA}/lost+found -prune -o -type f ! -name vol_dir.uuid -print) || exit 1
[ -z "$found" ] && exit 0
printf "%s\\n" "$found" | head -n 20
exit {FILES_FOUND}
"""
#: an annotation of the pod: the fingerprint of the key that it has
_SECRET = f"{GROUP}/secret"
#: all of SeaweedFS's keys, for writing and reading, of filer and servers
_KEYS = (
    "WEED_JWT_SIGNING_KEY",
    "WEED_JWT_SIGNING_READ_KEY",
    "WEED_JWT_FILER_SIGNING_KEY",
    "WEED_JWT_FILER_SIGNING_READ_KEY",
)
#: bytes of a name that a filer takes: more than the 255 of a volume's, for folders have a mark
_NAME_BYTES = 1024
_HOSTNAME = "kubernetes.io/hostname"
#: the most that SeaweedFS puts into one of its own volumes (MiB), and the fewest of these on a disk
_LARGEST, _FEWEST = 30_000, 16
#: paths at which the parts tell whether they are well
_HEALTH = {Part.MASTER: "/cluster/healthz", Part.SERVER: "/healthz", Part.FILER: "/healthz"}


@dataclass(frozen=True)
class Sizes:
    """How a server's disk is divided among the volumes of SeaweedFS."""

    #: of one of them, in MiB
    limit: int
    #: so many there are at the most
    most: int


def sizes_of(storage: int) -> Sizes:
    """Return how a disk of so many bytes is divided.

    A tenth stays free (indexes; a volume grows a little beyond its limit before it is noticed), and the room of one
    volume, into which another is copied when deleted files are taken out of it.
    """
    room = storage * 9 // 10 // 2**20
    count = max(_FEWEST, ceil(room / _LARGEST))
    return Sizes(room // count, count - 1)


def selector_of(owner: dict[str, Any], part: Part) -> dict[str, str]:
    """Return the labels by which the pods of a part are found; `owner` is the FileVolume's metadata."""
    return {**labels_of(FILE_VOLUME_KIND, owner), PART: str(part)}


def masters_of(owner: dict[str, Any], spec: FileVolumeSpec) -> str:
    """Return the addresses of the masters, as SeaweedFS wants them."""
    pods = (pod_name(owner["name"], Part.MASTER, ordinal) for ordinal in range(spec.masters))
    return ",".join(f"{host_of(owner, Part.MASTER, pod)}:{PORTS[Part.MASTER]}" for pod in pods)


def template(
    owner: dict[str, Any], spec: FileVolumeSpec, part: Part, image: str, key: str, storage: int
) -> dict[str, Any]:
    """Return the template of a part's pods; `key` is the fingerprint of the key, `storage` what a server's disk has."""
    port = PORTS[part]
    health = {"httpGet": {"path": _HEALTH[part], "port": "http"}, "periodSeconds": 2, "timeoutSeconds": 3}
    container = {
        "name": str(part),
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["weed", "-logtostderr=true", *_arguments(owner, spec, part, sizes_of(storage))],
        "env": [
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            *_environment(owner),
        ],
        "ports": [
            {"name": "http", "containerPort": port, "protocol": "TCP"},
            {"name": "grpc", "containerPort": port + 10_000, "protocol": "TCP"},
        ],
        # (a server that has left its masters answers, and is not well: it is not to be started again)
        "startupProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 600},
        "livenessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 10, "failureThreshold": 6},
        "readinessProbe": health,
        "resources": _resources(spec, part),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "data", "mountPath": _DATA}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "metadata": {"labels": selector_of(owner, part), "annotations": {_SECRET: key}},
        "spec": {
            **_pod(),
            "terminationGracePeriodSeconds": 30,
            "affinity": {"podAntiAffinity": _apart(owner, spec, part)},
            "containers": [container],
        },
    }


def shell_pod(owner: dict[str, Any], spec: FileVolumeSpec, image: str, commands: list[str]) -> dict[str, Any]:
    """Return the template of the pod that gives commands to `weed shell`, one after the other."""
    script = 'printf "%s\\n" "$@" | weed -logtostderr=true shell -master="$MASTERS"'
    made = _chore_pod(owner, image, ["sh", "-c", script, "chore", *commands])
    (container,) = made["spec"]["containers"]
    container["env"] = [{"name": "MASTERS", "value": masters_of(owner, spec)}, *_environment(owner)]
    return made


def inspecting_pod(owner: dict[str, Any], image: str, server: str) -> dict[str, Any]:
    """Return the template of the pod that looks whether there are files on the disk of a server that is gone."""
    made = _chore_pod(owner, image, ["sh", "-c", _INSPECT])
    made["spec"]["volumes"].append({"name": "data", "persistentVolumeClaim": {"claimName": f"data-{server}"}})
    (container,) = made["spec"]["containers"]
    container["volumeMounts"].append({"name": "data", "mountPath": _DATA, "readOnly": True})
    return made


def _chore_pod(owner: dict[str, Any], image: str, command: list[str]) -> dict[str, Any]:
    container = {
        "name": str(Part.CHORE),
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "metadata": {"labels": selector_of(owner, Part.CHORE)},
        "spec": {
            **_pod(),
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 5,
            "containers": [container],
        },
    }


def _pod() -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(_USER),
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def _environment(owner: dict[str, Any]) -> list[dict[str, Any]]:
    key = {"secretKeyRef": {"name": access_name(owner["name"]), "key": "key"}}
    return [
        {"name": "HOME", "value": "/tmp"},
        {"name": "WEED_FILER_OPTIONS_MAX_FILE_NAME_LENGTH", "value": str(_NAME_BYTES)},
        # (ids by time: a master that is started again else gives some again that are under way, and files are lost;
        # and by the master's address, of which a number is made where none is said)
        {"name": "WEED_MASTER_SEQUENCER_TYPE", "value": "snowflake"},
        *({"name": name, "valueFrom": key} for name in _KEYS),
    ]


def _arguments(owner: dict[str, Any], spec: FileVolumeSpec, part: Part, sizes: Sizes) -> list[str]:
    masters = masters_of(owner, spec)
    address = [f"-ip={host_of(owner, part, '$(POD)')}", "-ip.bind=0.0.0.0"]
    match part:
        case Part.MASTER:
            return [
                "master",
                *address,
                f"-mdir={_DATA}",
                f"-peers={masters if spec.masters > 1 else 'none'}",
                f"-defaultReplication=00{spec.copies - 1}",
                f"-volumeSizeLimitMB={sizes.limit}",
                "-telemetry=false",
            ]
        case Part.SERVER:
            return [
                "volume",
                *address,
                f"-dir={_DATA}",
                f"-master={masters}",
                f"-max={sizes.most}",
                "-minFreeSpace=3",
                "-preStopSeconds=1",
                # (who asks a server for a copy means that one: another's would tell nothing of it)
                "-readMode=local",
            ]
        case _:
            return ["filer", *address, f"-master={masters}", f"-defaultStoreDir={_DATA}", "-maxMB=4"]


def _apart(owner: dict[str, Any], spec: FileVolumeSpec, part: Part) -> dict[str, Any]:
    """Return what keeps the pods of a part on different nodes: servers as the spec says, others if that can be."""
    term = {
        "topologyKey": spec.topology_key or _HOSTNAME,
        "labelSelector": {"matchLabels": selector_of(owner, part)},
    }
    if spec.topology_key and part is Part.SERVER:
        return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}


def _resources(spec: FileVolumeSpec, part: Part) -> dict[str, dict[str, str]]:
    said = spec.resources if part is Part.SERVER else type(spec.resources)()
    requests, limits = given(said.requests), given(said.limits)
    for name, enough in (("cpu", "50m"), ("memory", "128Mi")):
        if name not in requests and name not in limits:
            requests[name] = enough
    return {"requests": requests, "limits": limits}
