"""Sessions of configuration trees whose programs have died go, and what is ephemeral with them.

Any client of a tree sees to that; this does where there is no other. As theirs, its judgement is by its own clock and
by what it has seen to change: what a Lease says of the time of day counts for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from gristmill.controllers.cluster import ApiError, Cluster, Outdated
from gristmill.coordination import leases
from gristmill.coordination.clock import Clock, boot_time
from gristmill.coordination.kube_objects import KIND_LABEL, record_of
from gristmill.coordination.port import Kind

log = logging.getLogger(__name__)

#: seconds between two looks: the least, and where there is no session
_LOOK_SECONDS = (0.25, 2.0)
#: a look takes at most so much of the operator's time, however many sessions somebody makes
_SHARE = 1 / 10
_SELECTOR = f"{KIND_LABEL}={Kind.SESSION}"


class Sessions:
    """Deletes what is over. It remembers only since when it has seen each session as it is."""

    def __init__(self, cluster: Cluster, watch: tuple[str, ...], clock: Clock = boot_time) -> None:
        self._cluster = cluster
        self._namespaces = watch or ("",)
        self._clock = clock
        self._seen: dict[str, leases.Sighting] = {}
        #: those that could not be deleted, which was said
        self._kept: set[str] = set()

    async def run(self) -> None:
        """Look all the time."""
        while True:
            pause = _LOOK_SECONDS[1]
            try:
                pause = await self.look()
            except Exception as error:
                log.warning("sessions of trees can't be looked at: %s", error)
            await asyncio.sleep(pause)

    async def look(self) -> float:
        """Look at all sessions once, and delete those that are over; return in how many seconds to look again."""
        began = self._clock()
        seen: dict[str, leases.Sighting] = {}
        over: list[tuple[str, leases.Sighting]] = []
        for namespace in self._namespaces:
            for found in await self._list(namespace):
                session, now = record_of(Kind.SESSION, found), self._clock()
                seen[session.uid] = sighting = leases.seen(self._seen.get(session.uid), session, now)
                if leases.is_over(sighting, now):
                    over.append((found["metadata"]["namespace"], sighting))
        self._seen = seen
        self._kept &= seen.keys()
        for namespace, sighting in over:
            await self._end(namespace, sighting)
        least, most = _LOOK_SECONDS
        due = min([most, *(leases.look_seconds(one.record) for one in seen.values())])
        return max(least, due, (self._clock() - began) / _SHARE)

    async def _list(self, namespace: str) -> list[dict[str, Any]]:
        try:
            return await self._cluster.list("Lease", namespace, labelSelector=_SELECTOR)
        except ApiError as error:
            if not namespace or error.status != 403:
                raise
            return []  # (it was deleted, say; `operating` says that)

    async def _end(self, namespace: str, sighting: leases.Sighting) -> None:
        session = sighting.record
        try:
            await self._cluster.delete(
                "Lease", namespace, session.name, uid=session.uid, version=str(session.revision)
            )
        except Outdated:
            return  # (it was renewed a moment ago)
        except ApiError as error:
            if session.uid not in self._kept:
                self._kept.add(session.uid)
                log.warning("%s/%s: this session is over, and stays: %s", namespace, session.name, error)
            return
        log.info("%s/%s: the program of this session has died: deleted", namespace, session.name)
