"""What the watches have told: the newest state of each object, found by its name or by whose it is."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from gristmill.reconcilers.objects import UID

#: namespace and name
Key = tuple[str, str]


def key_of(found: dict[str, Any]) -> Key:
    """Return namespace and name of an object."""
    return found["metadata"]["namespace"], found["metadata"]["name"]


class World:
    """A copy of the objects that the operator watches."""

    def __init__(self) -> None:
        self._objects: defaultdict[str, dict[Key, dict[str, Any]]] = defaultdict(dict)
        self._owned: defaultdict[str, dict[str, dict[Key, dict[str, Any]]]] = defaultdict(
            lambda: defaultdict(dict)
        )

    def get(self, kind: str, key: Key) -> dict[str, Any] | None:
        """Return an object, or None."""
        return self._objects[kind].get(key)

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return all objects of a kind."""
        return list(self._objects[kind].values())

    def owned(self, kind: str, uid: str, namespace: str) -> list[dict[str, Any]]:
        """Return the objects of a kind that have the uid of a resource in their label, in its namespace.

        Anybody can write that label on what is theirs in another.
        """
        found = self._owned[kind].get(uid, {})
        return [one for (place, _), one in found.items() if place == namespace]

    def put(self, kind: str, found: dict[str, Any]) -> None:
        """Take an object over, unless a newer state of it is there."""
        metadata, key = found["metadata"], key_of(found)
        if before := self._objects[kind].get(key):
            # (versions are comparable by contract since Kubernetes 1.35)
            newer = int(before["metadata"]["resourceVersion"]) > int(metadata["resourceVersion"])
            if newer and before["metadata"]["uid"] == metadata["uid"]:
                return
            self.drop(kind, key, before["metadata"]["uid"])
        self._objects[kind][key] = found
        if uid := (metadata.get("labels") or {}).get(UID):
            self._owned[kind][uid][key] = found

    def drop(self, kind: str, key: Key, uid: str) -> dict[str, Any] | None:
        """Forget an object that is gone, not one that has taken its name since; return what was known of it."""
        before = self._objects[kind].get(key)
        if before is None or before["metadata"]["uid"] != uid:
            return None
        del self._objects[kind][key]
        if owner := (before["metadata"].get("labels") or {}).get(UID):
            self._owned[kind][owner].pop(key, None)
            if not self._owned[kind][owner]:
                del self._owned[kind][owner]
        return before
