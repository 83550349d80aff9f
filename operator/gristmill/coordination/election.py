"""One of many who leads: the holder of a lock, told when it does, and first of all when it does not any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from gristmill.coordination.errors import LockLost, NotHeld
from gristmill.coordination.lock import Lock, Token
from gristmill.coordination.tasks import called, cancel

#: is called with the token of one's leadership
OnElected = Callable[[Token], Awaitable[None] | None]
#: is called when one leads no more
OnLost = Callable[[], Awaitable[None] | None]


class Election:
    """A candidate. While its leadership is not lost, nobody else leads."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    @property
    def leads(self) -> bool:
        """Whether this candidate leads now."""
        return self._lock.held

    async def run(self, on_elected: OnElected, on_lost: OnLost | None = None) -> None:
        """Lead once: wait for the turn, call `on_elected`, and give up the lead when that has ended.

        Where the lead is lost before, or the client closed, `on_lost` is called at once, then what `on_elected` awaits
        is cancelled, and LockLost is raised: call `run` again to be a candidate again. What `on_elected` raises is
        raised. Where `run` is cancelled, so is what `on_elected` awaits, and the lead is given up when that has ended.
        """
        await self._lock.acquire()
        work = asyncio.ensure_future(called(on_elected, self._lock.token))
        lost = asyncio.ensure_future(self._lock.wait_lost())
        try:
            await asyncio.wait({work, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not self._lock.held and not work.done():
                if on_lost is not None:
                    await called(on_lost)
                work.cancel()
                await asyncio.wait({work})  # (who is cancelled now learns of it, and does not cut that off)
                if not work.cancelled():
                    work.result()
                raise LockLost(f"the lead in {self._lock.name} was lost: another may lead now")
            await work
        finally:
            cancel(lost)
            cancel(work)
            try:
                await asyncio.gather(work, lost, return_exceptions=True)
            finally:
                with suppress(NotHeld):
                    await self._lock.release()
