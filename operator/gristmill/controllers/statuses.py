"""What people see of a resource: its status, and Events that tell of its changes."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from gristmill.controllers.cluster import NOT_DONE, Cluster, Outdated
from gristmill.controllers.world import World, key_of
from gristmill.reconcilers.actions import Note
from gristmill.reconcilers.showing import notes

log = logging.getLogger(__name__)


class Statuses:
    """Writes statuses and Events."""

    def __init__(self, cluster: Cluster, world: World, identity: str) -> None:
        self._cluster = cluster
        self._world = world
        self._identity = identity

    async def write(self, kind: str, resource: dict[str, Any], status: dict[str, Any]) -> None:
        """Write a status, and an Event for each of its changes that people are told of. Raises as `patch_status`."""
        known = self._world.get(kind, key_of(resource))
        if known is None or known["metadata"]["uid"] != resource["metadata"]["uid"]:
            raise Outdated(f"{kind} {resource['metadata']['name']} is not what it was")
        # (the version may be that of a write since: this pass has made it itself, or another pass follows)
        self._world.put(kind, await self._cluster.patch_status(kind, known, status))
        for note in notes(resource.get("status") or {}, status):
            await self.note(kind, resource, note)

    async def note(self, kind: str, resource: dict[str, Any], note: Note) -> None:
        """Tell of something by an Event."""
        try:
            await self._cluster.create(event_of(resource, kind, note, self._identity))
        except NOT_DONE as error:  # (a namespace that is being deleted takes none)
            log.warning("no Event for %s: %s", resource["metadata"]["name"], error)


def event_of(resource: dict[str, Any], kind: str, note: Note, instance: str) -> dict[str, Any]:
    """Return an Event about a resource."""
    metadata = resource["metadata"]
    at = datetime.now(UTC)
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "namespace": metadata["namespace"],
            "name": f"{metadata['name'][:40].rstrip('-.')}.{at:%Y%m%d%H%M%S%f}",
        },
        "eventTime": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": "gristmill.dev/operator",
        "reportingInstance": instance[:128],
        "type": "Warning" if note.warning else "Normal",
        "reason": note.reason[:128],
        "action": "Reconcile",
        # (at most 1024 bytes)
        "note": note.message.encode(errors="replace")[:1000].decode(errors="ignore"),
        "regarding": {
            "apiVersion": resource.get("apiVersion"),
            "kind": kind,
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }
