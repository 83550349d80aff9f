"""A FileVolume as the API server has it, what was made for it, and what its masters say."""

from __future__ import annotations

from typing import Any

from tests.builders import file_volume

from gristmill.api.filevolume import FileVolume
from gristmill.reconcilers.actions import Action, Create, Decision, Delete, Patch
from gristmill.reconcilers.times import text_of
from gristmill.reconcilers.volume import VolumeSettings, decide
from gristmill.reconcilers.volume_access import Part
from gristmill.reconcilers.volume_objects import (
    budgets,
    chore_job,
    claim_labels,
    network_policy,
    services,
    size_of,
    stateful_set,
)
from gristmill.reconcilers.volume_observed import EMPTIED, HAS_FILES, LOOK_FAILED, VolumeObserved
from gristmill.reconcilers.volume_pods import template
from gristmill.reconcilers.volume_topology import Topology

NOW = 1_800_000_000.0
UID = "f-1"
SETTINGS = VolumeSettings("weed:1", "home")


def resource(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a FileVolume of which nothing was made yet."""
    made = file_volume("files", **spec)
    made["metadata"] |= {
        "namespace": "apps",
        "uid": UID,
        "generation": 2,
        "resourceVersion": "7",
        "finalizers": ["gristmill.dev/disks"],
        "creationTimestamp": text_of(NOW - 600),
    }
    return made | ({"status": status} if status else {})


def degraded(since: float, *, holds: str = "True") -> dict[str, Any]:
    """Return a status that has had copies missing for so many seconds."""
    at = text_of(NOW - since)
    return {
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": text_of(NOW - 600)},
            {"type": "Degraded", "status": holds, "lastTransitionTime": at},
        ]
    }


def claim(part: str, number: int, size: str = "1Gi", **more: Any) -> dict[str, Any]:
    """Return a claim that is bound; `more` is of its metadata, but `phase` and the marks."""
    phase, emptied, has_files, look_failed = (
        more.pop("phase", "Bound"),
        more.pop("emptied", False),
        more.pop("has_files", False),
        more.pop("look_failed", ""),
    )
    name = f"data-files-{part}-{number}"
    metadata = {"name": name, "namespace": "apps", "uid": f"u-{name}", "resourceVersion": "3", **more}
    metadata["labels"] = claim_labels("files")
    metadata["annotations"] = ({EMPTIED: UID} if emptied else {}) | ({HAS_FILES: UID} if has_files else {})
    metadata["annotations"] |= {LOOK_FAILED: look_failed} if look_failed else {}
    return {
        "metadata": metadata,
        "spec": {"resources": {"requests": {"storage": size}}},
        "status": {"phase": phase, "capacity": {"storage": size} if phase == "Bound" else {}},
    }


def topology(servers: int = 4, volumes: int = 3, **facts: Any) -> Topology:
    """Return what the masters say of so many servers."""
    return Topology({f"files-server-{number}": volumes for number in range(servers)}, **facts)


def made(volume: dict[str, Any], servers: int = 4, ready: int = 1) -> dict[str, list[dict[str, Any]]]:
    """Return all that is made for a FileVolume, with so many servers."""
    owner, spec = volume["metadata"], spec_of(volume)
    sets = []
    counts = {Part.MASTER: spec.masters, Part.SERVER: servers, Part.FILER: 1}
    for part, count in counts.items():
        pods = template(owner, spec, part, SETTINGS.image, "key", spec.storage)
        found = stateful_set(owner, spec, part, count, pods, None)
        found["metadata"]["uid"] = f"s-{part}"
        sets.append(found | {"status": {"readyReplicas": ready and count}})
    objects = [*services(owner), *budgets(owner), network_policy(owner, SETTINGS.namespace), *sets]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for one in objects:
        kinds.setdefault(one["kind"], []).append(one)
    pods = [pod(part, number) for part, count in counts.items() for number in range(count)]
    return kinds | {"Pod": pods}


def spec_of(volume: dict[str, Any]) -> Any:
    """Return the spec, read."""
    return FileVolume.model_validate({key: value for key, value in volume.items() if key != "status"}).spec


def pod(part: str, number: int, created: float = NOW - 500) -> dict[str, Any]:
    """Return a pod of a part."""
    return {
        "metadata": {
            "name": f"files-{part}-{number}",
            "uid": f"p-{part}-{number}",
            "creationTimestamp": text_of(created),
            "ownerReferences": [{"uid": f"s-{part}"}],
        },
        "status": {"phase": "Running", "podIP": f"10.0.0.{number + 1}"},
    }


def chore(
    volume: dict[str, Any], what: str, ended: float | None = None, how: str = "Complete", why: str = ""
) -> dict[str, Any]:
    """Return the Job of a chore that has ended so many seconds ago, in a way and for a reason; None: it runs."""
    found = chore_job(volume["metadata"], what, {}, 60)
    found["metadata"]["uid"] = "j-1"
    if ended is not None:
        at = text_of(NOW - ended)
        ending = {"type": how, "status": "True", "reason": why, "lastTransitionTime": at}
        found["status"] = {"conditions": [ending]}
    return found


def observed(
    volume: dict[str, Any] | None = None,
    servers: int = 4,
    job: dict[str, Any] | None = None,
    **facts: Any,
) -> VolumeObserved:
    """Return a FileVolume that serves, with so many servers and their claims; `facts` are other than that."""
    volume = volume or resource()
    objects = made(volume, servers) | ({"Job": [job]} if job else {})
    claims = [claim("server", number) for number in range(servers)]
    given: dict[str, Any] = {
        "objects": objects,
        "claims": [*claims, claim("filer", 0), claim("master", 0)],
        "key": "key",
        "topology": topology(servers),
    }
    return VolumeObserved(resource=volume, **{**given, **facts})


def decided(seen: VolumeObserved, now: float = NOW) -> Decision:
    """Return what is decided."""
    return decide(seen, SETTINGS, now)


def told(decision: Decision) -> list[str]:
    """Return what is to be done, in words."""
    return [_words(action) for action in decision.actions]


def _words(action: Action) -> str:
    match action:
        case Create(manifest):
            chore = (manifest["metadata"].get("annotations") or {}).get("gristmill.dev/chore")
            return f"create {manifest['kind']} {chore or manifest['metadata']['name']}"
        case Patch(kind, name, _, body):
            changed = ",".join(sorted(body.get("spec") or body["metadata"]["annotations"]))
            return f"patch {kind} {name}: {changed}"
        case Delete(kind, name, _, _):
            return f"delete {kind} {name}"
    return type(action).__name__


def size(part: Part, **spec: Any) -> int:
    """Return the bytes of the claims of a part."""
    return size_of(spec_of(resource(**spec)), part)
