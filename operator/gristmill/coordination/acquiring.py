"""How a lock is taken: made where there is none, else waited for in line.

What was asked of a server that did not answer may have been done, so it is always looked first whether the lock is held
already, by this very attempt: no other has its name.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import TypeVar

from gristmill.coordination import leases
from gristmill.coordination.clock import Clock, wall_time
from gristmill.coordination.errors import (
    Conflict,
    CoordinationError,
    Exists,
    HistoryGone,
    Missing,
    Unavailable,
    Unreachable,
)
from gristmill.coordination.following import Following
from gristmill.coordination.holding import Hold, hold
from gristmill.coordination.port import (
    ACQUIRED,
    HOLDER,
    RENEWED,
    SECONDS,
    TRANSITIONS,
    Kind,
    Record,
    Scope,
    Store,
)
from gristmill.coordination.saying import say

log = logging.getLogger(__name__)

T = TypeVar("T")

#: seconds until a server that does not answer is asked again, about
_AWAY_SECONDS = 0.5
#: seconds for which answers are waited for that are not wanted any more, as those that come later than they should;
#: for all of an attempt together
_LATE_SECONDS = 5.0


class Acquisition:
    """One attempt to take a lock. `sighting` is what was known of it before, and is known after."""

    def __init__(
        self,
        store: Store,
        name: str,
        who: str,
        seconds: int,
        clock: Clock,
        sighting: leases.Sighting | None = None,
    ) -> None:
        self.sighting = sighting
        self._store = store
        self._name = name
        self._who = who
        self._seconds = seconds
        self._clock = clock
        #: whether there may be something to take back
        self._asked = False
        #: when it is our turn, if nothing changes
        self._turn = 0.0
        #: whether there is no time to stand in line
        self._at_once = False
        #: seconds that are left of those
        self._patience = _LATE_SECONDS
        #: whether it was said that the server is away, which it was since
        self._said = False

    async def take(self, end: float) -> Hold | None:
        """Return the hold on the lock, or None where it can't be had until `end`.

        Where that is -inf it is had at once or not, and before those who stand in line if it is free.
        """
        had, self._at_once = None, end == -inf
        try:
            while had is None:
                had = await self._patiently(end, self._make)
                record = None if had else await self._patiently(end, self._get)
                if record is not None:
                    had = await self._wait(record, end)
                if had is None and self._clock() >= end:
                    return None
            return had
        finally:
            if had is None and self._asked:
                await asyncio.shield(self._withdraw())

    async def _make(self) -> Hold | None:
        self._asked, begin = True, self._clock()
        try:
            made = await self._store.create(Record(Kind.LOCK, self._name, fields=self._taken(0, "")))
        except Exists:
            return None
        return self._held(made, begin)

    async def _wait(self, record: Record | None, end: float) -> Hold | None:
        """Wait in line; return the hold, or None where the time is over, or there is no lock any more to wait for."""
        async with Following(self._store, Scope(Kind.LOCK, name=self._name), self._tell) as changes:
            while record is not None:
                step = self._step(record)
                if step is not None:
                    had = await self._patiently(end, step)
                    if had is not None or self._clock() >= end:
                        return had
                    record = await self._patiently(end, self._get)
                elif self._clock() >= end:
                    return None
                elif self._who not in leases.waiting(record):
                    changes.begin(record)
                    record = await self._patiently(end, partial(self._join, record))
                else:
                    try:
                        record = await changes.next(record, min(self._turn, end) - self._clock())
                    except HistoryGone:
                        record = await self._patiently(end, changes.read_again)
        return None

    def _step(self, record: Record) -> Callable[[], Awaitable[Hold | None]] | None:
        """Return how to take a lock that was seen so now; None where it is another's turn."""
        if leases.holder_of(record) == self._who:
            return self._confirm
        self._asked = self._who in leases.waiting(record)  # (it is all that there is to take back)
        self.sighting = leases.seen(self.sighting, record, self._clock())
        free_at = self.sighting.free_at
        self._turn = free_at if self._at_once else leases.claim_at(self.sighting, self._who)
        return partial(self._claim, record) if self._clock() >= self._turn else None

    async def _claim(self, record: Record) -> Hold | None:
        """Take the lock as it was seen; those ahead did not when it was their turn, and are not there any more."""
        self._asked, begin = True, self._clock()
        ahead = [] if self._at_once else leases.ahead_of(record, self._who)
        gone: dict[str, str | None] = {leases.waiter(one): None for one in ahead}
        changed = int(record.fields.get(TRANSITIONS) or 0) + 1
        changes = {
            **gone,
            leases.waiter(self._who): None,
            **self._taken(changed, record.fields.get(RENEWED, "")),
        }
        with suppress(Conflict, Missing):
            where = leases.condition_of(record)
            return self._held(await self._store.update(Kind.LOCK, self._name, changes, where=where), begin)
        return None

    async def _confirm(self) -> Hold | None:
        """Return the hold that was had by a call whose answer was lost: its time begins now."""
        begin = self._clock()
        with suppress(Conflict, Missing):
            renewed = {RENEWED: wall_time()}
            return self._held(
                await self._store.update(Kind.LOCK, self._name, renewed, where={HOLDER: self._who}), begin
            )
        return None

    async def _join(self, record: Record) -> Record | None:
        self._asked = True
        ticket = {leases.waiter(self._who): str(leases.next_ticket(record))}
        with suppress(Missing):
            return await self._store.update(Kind.LOCK, self._name, ticket)
        return None

    async def _get(self) -> Record | None:
        return await self._store.get(Kind.LOCK, self._name)

    async def _withdraw(self) -> None:
        """Take back what was asked for. What can't be is dropped by the others in time, as what a dead holder has."""
        with suppress(CoordinationError, TimeoutError):
            async with asyncio.timeout(min(self._seconds, self._patience)):
                record = await self._get()
                if record is not None and leases.holder_of(record) == self._who:
                    await give_up(self._store, record, self._who)
                elif record is not None and self._who in leases.waiting(record):
                    left = await self._store.update(Kind.LOCK, self._name, {leases.waiter(self._who): None})
                    if leases.holder_of(left) is None and not leases.waiting(left):
                        await self._store.delete(Kind.LOCK, self._name, revision=left.revision)

    async def _patiently(self, end: float, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call again while the server does not answer, and there is time: that is said once.

        Who is cancelled waits for the answer for a while: what was sent may be done after all, and is to be taken back.
        """
        while True:
            step = asyncio.ensure_future(call())
            try:
                await self._await(step, end)
            except asyncio.CancelledError:
                await self._await(step, -inf)
                if not step.cancel():
                    with suppress(asyncio.CancelledError):
                        step.exception()
                raise
            if step.cancel():
                await asyncio.wait({step})
            try:
                answer = step.result()
            except asyncio.CancelledError as error:  # (which may say what else was waited for)
                raise Unavailable(str(error) or "the server has not answered in time") from None
            except Unavailable as error:
                pause = _AWAY_SECONDS * random.uniform(0.5, 1.5)
                if isinstance(error, Unreachable) or self._clock() + pause >= end:
                    raise
                self._tell(error)
                await asyncio.sleep(pause)
            else:
                self._tell(None)
                return answer

    def _tell(self, error: CoordinationError | None) -> None:
        """Say why the server does not answer, once until it does (None)."""
        if error is not None and not self._said:
            say(
                log,
                logging.WARNING,
                "lock %s can't be asked for now: %s; it is tried again",
                self._name,
                error,
            )
        self._said = error is not None

    async def _await(self, step: asyncio.Future[T], end: float) -> None:
        """Wait for an answer until `end`, and then for as long as late answers are waited for still."""
        begin = self._clock()
        await asyncio.wait({step}, timeout=max(0.0, max(0.0, end - begin) + self._patience))
        self._patience -= max(0.0, self._clock() - max(begin, end))

    def _held(self, record: Record, begin: float) -> Hold | None:
        """Return the hold on a lock that was taken by a call; None where the answer came when its time was over.

        Then another may have it; who has not is `_confirm`ed.
        """
        had = hold(self._who, record, begin, self._seconds)
        return had if self._clock() < had.until else None

    def _taken(self, changed: int, renewed: str) -> dict[str, str]:
        now = wall_time(unlike=renewed)
        return {
            HOLDER: self._who,
            SECONDS: str(self._seconds),
            ACQUIRED: now,
            RENEWED: now,
            TRANSITIONS: str(changed),
        }


async def give_up(store: Store, record: Record, who: str) -> None:
    """Give a lock up that was seen so last: leave it to those who wait, or delete it.

    One that has changed hands is likely to be waited for: then it is looked first, while it is given up.
    """
    if not leases.waiting(record) and int(record.fields.get(TRANSITIONS) or 0) == 0:
        try:
            return await store.delete(Kind.LOCK, record.name, revision=record.revision)
        except Missing:
            return None
        except Conflict:  # (somebody has come)
            pass
    with suppress(Conflict, Missing):
        left = await store.update(Kind.LOCK, record.name, {HOLDER: None}, where={HOLDER: who})
        if not leases.waiting(left):
            await store.delete(Kind.LOCK, record.name, revision=left.revision)
    return None
