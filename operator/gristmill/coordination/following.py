"""A record followed for as long as somebody waits for it to change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from gristmill.coordination.port import Change, Record, Scope, Store
from gristmill.coordination.tasks import end


class Following:
    """The changes of a record, one after the other, for whoever waits for each for a time only."""

    def __init__(self, store: Store, scope: Scope) -> None:
        self._store = store
        self._scope = scope
        self._watch: AsyncIterator[Change] | None = None
        self._next: asyncio.Future[Change] | None = None

    async def __aenter__(self) -> Following:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    def begin(self, record: Record) -> asyncio.Future[Change]:
        """Follow the record from here on. Who writes to it then has a connection left for the next write."""
        if self._watch is None:
            self._watch = self._store.watch(self._scope, record.revision)
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._watch))
        return self._next

    async def next(self, record: Record, seconds: float) -> Record | None:
        """Return the record after its next change, as it is if there is none in time, or None where it is deleted."""
        while True:
            coming = self.begin(record)
            begin = asyncio.get_running_loop().time()
            done, _ = await asyncio.wait({coming}, timeout=max(0.0, seconds))
            if not done:
                return record
            self._next = None
            try:
                change = coming.result()
            except BaseException:
                self._watch = None
                raise
            if change.record is not None and change.revision > record.revision:
                return None if change.deleted else change.record
            seconds -= asyncio.get_running_loop().time() - begin

    async def _stop(self) -> None:
        await end(self._next)
        if self._watch is not None:
            await self._watch.aclose()  # type: ignore[attr-defined]
