"""A lock that one holds at a time, in turn, and whose holder learns of its loss before another can have it.

What can't be promised is that a process that was stopped does nothing when it goes on: for that there is `token`, which
what the lock protects has to compare with the highest that it has seen.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from numbers import Real
from typing import Any

from gristmill.coordination import leases
from gristmill.coordination.acquiring import Acquisition, give_up
from gristmill.coordination.clock import Clock
from gristmill.coordination.errors import Closed, CoordinationError, LockLost, LockTimeout, NotHeld, closed
from gristmill.coordination.holding import Hold, keep
from gristmill.coordination.port import RENEWED, Store
from gristmill.coordination.saying import say
from gristmill.coordination.tasks import cancel, end

log = logging.getLogger(__name__)

#: seconds until it is tried again to give a lock up
_RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Token:
    """Tells an earlier holder of a lock from a later one, whose `number` is higher: also where the lock was deleted."""

    lock: str
    number: int


class Lock:
    """One holder's handle of the lock of a name; another handle in the same process is another holder."""

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        identity: str,
        seconds: int,
        clock: Clock,
        timeout: float | None = None,
    ) -> None:
        self.name = name
        #: is set when the lock is lost; not when it is given up
        self.lost = asyncio.Event()
        self._store = store
        self._identity = identity
        self._seconds = seconds
        self._clock = clock
        self._timeout = _waited(timeout)
        self._hold: Hold | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._taking: asyncio.Task[Hold | None] | None = None
        #: what is done to its end though who has asked for it was cancelled
        self._unended: set[asyncio.Task[None]] = set()
        self._closed = False
        self._sighting: leases.Sighting | None = None
        self._turn = asyncio.Lock()

    @property
    def held(self) -> bool:
        """Whether the lock is held now, by one's own clock: a process that was stopped sees here that it is not."""
        return self._seen()[1]

    @property
    def token(self) -> Token:
        """The fencing token of this hold. NotHeld where there is none, LockLost where it is over."""
        hold, held = self._seen()
        if hold is None:
            raise NotHeld(f"lock {self.name} is not held: acquire it first")
        if not held:
            raise LockLost(f"lock {self.name} was lost, and another may hold it now: stop what it protected")
        return Token(self.name, hold.number)

    async def acquire(self, timeout: float | None = None, *, blocking: bool = True) -> bool:
        """Take the lock; return whether it was had within `timeout` seconds.

        None: those of the handle, or as long as it takes where it has none either (as with `math.inf`).

        Without `blocking` it is had at once or not: if it is free, also before those who wait. That a holder has died
        is seen by who waits, or tries again by the same handle, for the holder's `seconds`. Of one handle one waits at
        a time; the time for which another waits for that is a part of its own.

        Unavailable, up to 5 s after that time, where the server does not answer.
        """
        if timeout is not None and not blocking:
            raise ValueError("timeout: it says something only where acquire may wait")
        seconds = _waited(self._timeout if timeout is None else timeout)
        end = (self._clock() + seconds if seconds is not None else inf) if blocking else -inf
        if not await self._has_turn(seconds if blocking else 0):
            return False
        try:
            return await self._acquire(end)
        finally:
            self._turn.release()

    async def release(self) -> None:
        """Give the lock up. NotHeld where it was not held, LockLost where it was lost meanwhile.

        Where somebody takes it by this handle just then it is not held: they are not waited for.
        """
        if self._taking is not None:
            raise NotHeld(f"lock {self.name} is not held, but is waited for by this handle: cancel that")
        await self._release()

    async def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until the lock is lost or given up, or `timeout` seconds have passed; return whether it is lost.

        NotHeld where there is no hold that could be lost.
        """
        keeping = self._keeping
        if keeping is None:
            raise NotHeld(f"lock {self.name} is not held: acquire it first")
        await asyncio.wait({keeping}, timeout=timeout)
        return keeping.done() and not keeping.cancelled()

    async def close(self) -> None:
        """Give the lock up if it is held, and never take it again; who waits for it by this handle is told Closed."""
        self._closed = True
        if self._taking is not None:
            cancel(self._taking)
        with suppress(NotHeld):
            await self._release()
        if self._unended:
            await asyncio.wait(self._unended)

    async def __aenter__(self) -> Lock:
        """Take the lock. LockTimeout where that takes longer than the `timeout` of the lock."""
        if not await self.acquire():
            raise LockTimeout(
                f"lock {self.name} was not had within {self._timeout:g} s: {self._who_has_it()}"
            )
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        """Give the lock up. That it was lost is raised where nothing else is."""
        try:
            await self.release()
        except NotHeld:
            if kind is None:
                raise

    async def _release(self) -> None:
        async with self._turn:
            hold, held = self._seen()
            if hold is None:
                raise NotHeld(
                    f"lock {self.name} is not held: it was never acquired, or has been released before"
                )
            await self._in_full(self._let_go(hold if held else None))
            if not held:
                raise LockLost(
                    f"lock {self.name} was lost before it was released: another may have had it meanwhile"
                )

    async def _has_turn(self, timeout: float | None) -> bool:
        """Wait until nobody else takes or gives up the lock by this handle; return whether that was in time."""
        try:
            async with asyncio.timeout(timeout):
                return await self._turn.acquire()
        except TimeoutError:
            return False

    async def _acquire(self, end: float) -> bool:
        if self._closed:
            raise closed()
        if self.held:
            raise NotHeld(
                f"lock {self.name} is held by this handle already: release it, or use another handle"
            )
        who = f"{self._identity}-{secrets.token_hex(4)}"
        attempt = Acquisition(self._store, self.name, who, self._seconds, self._clock, self._sighting)
        taking = asyncio.create_task(self._take(attempt, end), name=f"taking lock {self.name}")
        self._taking = taking
        try:
            await asyncio.wait({taking})
        except asyncio.CancelledError:
            await self._in_full(self._take_back(taking))
            raise
        finally:
            self._taking, self._sighting = None, attempt.sighting
        if taking.cancelled():  # (by `close`)
            raise closed()
        self._hold = taking.result()
        if self._hold is None:
            return False
        self._keeping = asyncio.create_task(self._keep(self._hold), name=f"lock {self.name}")
        return True

    async def _take(self, attempt: Acquisition, end: float) -> Hold | None:
        await self._forget()
        return await attempt.take(end)

    def _seen(self) -> tuple[Hold | None, bool]:
        """Return the last hold, and whether it lasts: another thread may give it up, or lose it, meanwhile."""
        lost = self.lost.is_set()  # (first: so it is of this hold, or of one before)
        hold = self._hold
        return hold, hold is not None and not lost and self._clock() < hold.until

    def _who_has_it(self) -> str:
        record = self._sighting.record if self._sighting else None
        holder = leases.holder_of(record) if record is not None else None
        if record is None or holder is None:
            return "nobody has it, and others wait before"
        renewed = record.fields.get(RENEWED, "never")
        return f"{holder} has it, and renewed it last at {renewed} by its own clock"

    async def _keep(self, hold: Hold) -> None:
        why = await keep(self._store, hold, self._seconds, self._clock)
        self.lost.set()
        say(log, logging.WARNING, "lock %s is lost: %s", self.name, why)

    async def _forget(self) -> None:
        """Forget the last hold."""
        keeping, self._keeping, self._hold = self._keeping, None, None
        await end(keeping)
        self.lost.clear()

    async def _let_go(self, hold: Hold | None) -> None:
        """Forget the last hold, and give it up where it is one still."""
        await self._forget()
        if hold is not None:
            await self._give_up(hold)

    async def _in_full(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something, and to its end also where who waits for it is cancelled: then `close` waits for it."""
        task = asyncio.create_task(work)
        self._unended.add(task)
        task.add_done_callback(self._unended.discard)
        await asyncio.shield(task)

    async def _take_back(self, taking: asyncio.Task[Hold | None]) -> None:
        """End an attempt, and give up what it may have had already."""
        await end(taking)
        if not taking.cancelled() and not taking.exception() and (hold := taking.result()):
            await self._give_up(hold)

    async def _give_up(self, hold: Hold) -> None:
        """Give the lock up for as long as it is ours; later it is free anyway."""
        while True:
            try:
                return await give_up(self._store, hold.record, hold.who)
            except CoordinationError as error:
                if isinstance(error, Closed) or self._clock() + _RETRY_SECONDS >= hold.until:
                    words = "lock %s can't be given up, it will end by itself: %s"
                    say(log, logging.WARNING, words, self.name, error)
                    return None
            await asyncio.sleep(_RETRY_SECONDS)


def _waited(timeout: float | None) -> float | None:
    """Return for how many seconds a lock is waited for. TypeError or ValueError where that can't be."""
    if isinstance(timeout, bool):
        raise TypeError(f"timeout: it is a number of seconds; write acquire(blocking={timeout})")
    if timeout is not None and not isinstance(timeout, Real):
        raise TypeError(
            f"timeout: {timeout!r} can't be waited for, it is a number of seconds: give float(...)"
        )
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"timeout: {timeout} s can't be waited for, it is 0 or more")
    return timeout
