"""What the masters of a FileVolume say: which servers are there, what lacks copies, how much is free."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_MIB = 2**20
#: what is raised where something is no such answer
NOT_ANSWERS = (LookupError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class Topology:
    """The servers that are there, and what they have. A *volume* is one of SeaweedFS's, with many files."""

    #: volumes on each server, by the name of its pod
    servers: Mapping[str, int]
    #: volumes that fewer servers have than should, and that more do
    lacking: int = 0
    excess: int = 0
    #: objects, bytes of them, and bytes for which there is room; copies not counted
    files: int = 0
    used: int = 0
    free: int = 0


def topology_of(dir_status: Any, vol_status: Any, copies: int, limit: int) -> Topology:
    """Return what `/dir/status` and `/vol/status` come to; `limit` is that of a volume, in MiB.

    Raises NOT_ANSWERS where these are none.
    """
    servers: dict[str, int] = {}
    slots = 0
    for node in _nodes(dir_status["Topology"]):
        servers[pod_of(node["Url"])] = int(node.get("Volumes") or 0)
        slots += max(0, int(node.get("Max") or 0) - int(node.get("Volumes") or 0))
    holders: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for volume in _volumes(vol_status["Volumes"]):
        holders[int(volume["Id"])].append(volume)
    used = files = room = lacking = excess = 0
    for held in holders.values():
        wanted = 1 + sum(int(count) for count in (held[0].get("ReplicaPlacement") or {}).values())
        lacking += len(held) < wanted
        excess += len(held) > wanted
        # (a copy that is being made has less than the others)
        fullest = max(held, key=lambda volume: int(volume.get("Size") or 0))
        size = int(fullest.get("Size") or 0)
        used += max(0, size - int(fullest.get("DeletedByteCount") or 0))
        files += max(0, int(fullest.get("FileCount") or 0) - int(fullest.get("DeleteCount") or 0))
        if not any(volume.get("ReadOnly") for volume in held):
            room += max(0, limit * _MIB - size)
    return Topology(servers, lacking, excess, files, used, room + slots * limit * _MIB // copies)


def pod_of(address: str) -> str:
    """Return the name of the pod that has an address, as SeaweedFS writes it."""
    return address.partition(":")[0].partition(".")[0]


def volumes_on(status: Any) -> int:
    """Return how many volumes are on a server by its own word, the answer to `/status`. Raises NOT_ANSWERS."""
    return len(status["Volumes"] or ())


def _nodes(topology: Any) -> Iterator[dict[str, Any]]:
    for center in topology.get("DataCenters") or ():
        for rack in center.get("Racks") or ():
            yield from rack.get("DataNodes") or ()


def _volumes(found: Any) -> Iterator[dict[str, Any]]:
    for center in (found.get("DataCenters") or {}).values():
        for rack in (center or {}).values():
            for volumes in (rack or {}).values():
                yield from volumes or ()
