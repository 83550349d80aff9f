"""A record followed for as long as somebody waits for it to change."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

from gristmill.coordination.errors import CoordinationError, HistoryGone, Unavailable, Unreachable
from gristmill.coordination.port import Change, Record, Scope, Store
from gristmill.coordination.tasks import end

#: seconds until what can't be followed is tried again, about
_AGAIN_SECONDS = 0.5


class Following:
    """The changes of a record, one after the other, for whoever waits for each for a time only.

    `tell` is called with each error for which it is tried again, and with None where the server has told something.
    """

    def __init__(
        self, store: Store, scope: Scope, tell: Callable[[CoordinationError | None], object]
    ) -> None:
        self._store = store
        self._scope = scope
        self._tell = tell
        self._watch: AsyncIterator[Change] | None = None
        self._next: asyncio.Task[Change] | None = None
        #: when it was read again: a record that was not written for long can't be followed from its own revision
        self._since = 0
        #: whether the server has told something: then it may be followed
        self._heard = False

    async def __aenter__(self) -> Following:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    def begin(self, record: Record) -> asyncio.Task[Change]:
        """Follow the record from here on. Who writes to it then has a connection left for the next write."""
        if self._watch is None:
            self._watch = self._store.watch(self._scope, max(record.revision, self._since))
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._watch))
        return self._next

    async def next(self, record: Record, seconds: float) -> Record | None:
        """Return the record after its next change, as it is if there is none in time, or None where it is deleted.

        A server that is away is waited for, and so is one that has told something before and does not now; Unreachable
        where waiting can't mend that, HistoryGone where the record has to be read again (`read_again`).
        """
        loop = asyncio.get_running_loop()
        last = loop.time() + seconds
        while True:
            coming = self.begin(record)
            done, _ = await asyncio.wait({coming}, timeout=max(0.0, last - loop.time()))
            if not done:
                return record
            self._next = None
            try:
                change = coming.result()
            except CoordinationError as error:
                self._watch = None
                if isinstance(error, HistoryGone | Unreachable) or not (
                    self._heard or isinstance(error, Unavailable)
                ):
                    raise
                self._tell(error)
                pause = _AGAIN_SECONDS * random.uniform(0.5, 1.5)
                if loop.time() + pause >= last:
                    await asyncio.sleep(max(0.0, last - loop.time()))
                    return record
                await asyncio.sleep(pause)
            else:
                self._heard = True
                self._tell(None)
                if change.record is not None and change.revision > record.revision:
                    return None if change.deleted else change.record

    async def read_again(self) -> Record | None:
        """Return the record as it is now, or None; it is followed from now on."""
        records, self._since = await self._store.list(self._scope)
        return records[0] if records else None

    async def _stop(self) -> None:
        await end(self._next)
        if self._watch is not None:
            await self._watch.aclose()  # type: ignore[attr-defined]
