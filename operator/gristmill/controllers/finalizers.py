"""Sets and takes away a finalizer, and no other's."""

from __future__ import annotations

from typing import Any

from gristmill.controllers.cluster import Cluster
from gristmill.controllers.world import World


async def set_finalizer(
    cluster: Cluster, world: World, kind: str, resource: dict[str, Any], finalizer: str, *, on: bool
) -> None:
    """Put a finalizer on a resource, or take it away. Outdated where the resource has changed meanwhile."""
    metadata = resource["metadata"]
    others = [one for one in metadata.get("finalizers") or () if one != finalizer]
    # (the version makes it fail where another has changed the list meanwhile)
    body = {
        "metadata": {
            "finalizers": [*others, finalizer] if on else others,
            "resourceVersion": metadata["resourceVersion"],
        }
    }
    namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
    found = await cluster.patch(kind, namespace, name, body, uid=uid)
    known = world.get(kind, (namespace, name))
    # (without its last finalizer it may be gone, and the watch have told it)
    if on or (known is not None and known["metadata"]["uid"] == uid):
        world.put(kind, found)
