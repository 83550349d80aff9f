"""A session: what was made in it goes when the process that has it does.

It is a record that is renewed like a lock. One that was not seen to be renewed for the greater part of its time is
deleted by any other client of the tree, or the operator, and with it what it owns: `Reaper`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress

from gristmill.coordination import leases
from gristmill.coordination.clock import Clock, wall_time
from gristmill.coordination.errors import Conflict, CoordinationError, Missing, closed
from gristmill.coordination.holding import Hold, hold, keep
from gristmill.coordination.names import session_name
from gristmill.coordination.port import ACQUIRED, HOLDER, RENEWED, SECONDS, Kind, Owner, Record, Scope, Store
from gristmill.coordination.saying import say
from gristmill.coordination.tasks import end

log = logging.getLogger(__name__)

#: seconds between two looks, at the most
_MOST_SECONDS = 5.0


class Session:
    """The session of a client in a tree; made when it is first needed, and again where it was lost."""

    def __init__(self, store: Store, tree: str, identity: str, seconds: int, clock: Clock) -> None:
        self._store = store
        self._tree = tree
        self._identity = identity
        self._seconds = seconds
        self._clock = clock
        self._hold: Hold | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._making = asyncio.Lock()
        self._closed = False
        #: is set when it is lost, and what was made in it goes; not set any more when another was made
        self.lost = asyncio.Event()

    async def owner(self) -> Owner:
        """Return the session to own something, as it is now."""
        async with self._making:
            if self._closed:
                raise closed()
            if self._hold is None or self.lost.is_set() or self._clock() >= self._hold.until:
                await self._make()
            assert self._hold is not None
            return Owner(self._hold.record.name, self._hold.record.uid)

    async def close(self) -> None:
        """End it, and with it what was made in it; one that is being made is waited for. No other is made."""
        self._closed = True
        async with self._making:
            await end(self._keeping)
            if self._hold is not None:
                with suppress(CoordinationError):
                    await self._store.delete(Kind.SESSION, self._hold.record.name, uid=self._hold.record.uid)
                self._hold = None

    async def _make(self) -> None:
        await end(self._keeping)
        if self._hold is not None and not self.lost.is_set():
            self._lose(self._hold, "it could not be renewed in time")
        who, begin, now = f"{self._identity}-{secrets.token_hex(4)}", self._clock(), wall_time()
        fields = {HOLDER: who, SECONDS: str(self._seconds), ACQUIRED: now, RENEWED: now}
        name = session_name(self._tree, secrets.token_hex(8))
        made = await self._store.create(Record(Kind.SESSION, name, self._tree, fields))
        self._hold = hold(who, made, begin, self._seconds)
        self.lost.clear()
        self._keeping = asyncio.create_task(self._keep(self._hold), name=f"session {name}")

    async def _keep(self, held: Hold) -> None:
        why = await keep(self._store, held, self._seconds, self._clock)
        self._lose(held, why)

    def _lose(self, held: Hold, why: str) -> None:
        self.lost.set()
        say(log, logging.WARNING, "session %s is lost, and what it made goes: %s", held.record.name, why)


class Reaper:
    """Deletes the sessions of a scope whose clients have died. Many may do so at the same time."""

    def __init__(self, store: Store, scope: Scope, clock: Clock) -> None:
        self._store = store
        self._scope = scope
        self._clock = clock
        self._seen: dict[str, leases.Sighting] = {}
        self._new = asyncio.Event()

    def meet(self, owner: Owner) -> None:
        """Know of a session: its time begins when it is first seen, so it is looked at once."""
        if owner.uid not in self._seen:
            self._new.set()

    async def run(self, needed: Callable[[], bool]) -> None:
        """Look all the time, where it is needed."""
        pause = _MOST_SECONDS
        while True:
            self._new.clear()
            if needed():
                with suppress(CoordinationError):
                    pause = await self.look()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._new.wait()

    async def look(self) -> float:
        """Look at the sessions once, and delete those that are over; return in how many seconds to look again."""
        sessions, _ = await self._store.list(self._scope)
        now = self._clock()
        self._seen = {one.uid: leases.seen(self._seen.get(one.uid), one, now) for one in sessions}
        for sighting in self._seen.values():
            if leases.is_over(sighting, now):
                # (one that was renewed a moment ago has another revision)
                with suppress(Conflict, Missing):
                    await self._store.delete(
                        Kind.SESSION,
                        sighting.record.name,
                        revision=sighting.record.revision,
                        uid=sighting.record.uid,
                    )
        return min([_MOST_SECONDS, *map(leases.look_seconds, sessions)])
