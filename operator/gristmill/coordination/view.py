"""What a server's records of a scope are, followed by one list and one watch however many look at it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gristmill.coordination.errors import CoordinationError, HistoryGone
from gristmill.coordination.port import Change, Record, Scope, Store
from gristmill.coordination.saying import say
from gristmill.coordination.tasks import end

log = logging.getLogger(__name__)

#: seconds until what failed is tried again, at the least and the most
_AGAIN_SECONDS = (0.1, 5.0)
#: seconds after which a watch that has brought nothing new is taken for one that lasts
_LASTING_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Gap:
    """Changes may have been missed; those that follow lead to the state at `revision`."""

    revision: int


@dataclass(frozen=True, slots=True)
class Gone:
    """What was deleted: a record, as it was at a revision."""

    uid: str
    revision: int

    def is_of(self, record: Record) -> bool:
        """Whether a record is that one, or one that was there before it."""
        return record.uid == self.uid or record.revision <= self.revision


#: is told of each change in its order, with the record as it was known before
Listener = Callable[[Change | Gap, Record | None], None]


class View:
    """The records as they are known here: those that others have changed a moment ago may be as they were.

    What was written from here is known at once (`ahead`); listeners hear of it in its turn.
    """

    def __init__(self, store: Store, scope: Scope) -> None:
        self.revision = 0
        #: since when (by time.monotonic) what is known may be old; None while it is followed
        self.stale_since: float | None = None
        self._heard_at = 0.0
        #: seconds until what fails now is tried again, about
        self._pause = _AGAIN_SECONDS[0]
        self._store = store
        self._scope = scope
        self._records: dict[str, Record] = {}
        #: what was written from here and not seen yet
        self._ahead: dict[str, Record | Gone] = {}
        self._listeners: list[Listener] = []
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what is there, and follow it from then on."""
        records, self.revision = await self._store.list(self._scope)
        self._records = {record.name: record for record in records}
        self._heard_at = time.monotonic()
        self._following = asyncio.create_task(self._follow(), name=f"view of {self._scope}")

    async def stop(self) -> None:
        """Follow no more."""
        await end(self._following)

    def get(self, name: str) -> Record | None:
        """Return a record, or None."""
        # (first what is ahead: another thread may drop it, when it is a record like others)
        ahead = self._ahead.get(name) if self._ahead else None
        if isinstance(ahead, Record):
            return ahead
        record = self._records.get(name)
        return None if ahead is not None and record is not None and ahead.is_of(record) else record

    def all(self) -> Mapping[str, Record]:
        """Return all records by name."""
        if not self._ahead:
            return self._records
        found = {name: self.get(name) for name in {**self._records, **self._ahead}}
        return {name: record for name, record in found.items() if record is not None}

    def seen(self) -> Mapping[str, Record]:
        """Return all records as the listeners have heard of them."""
        return self._records

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have somebody told of every change from now on; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def wrote(self, record: Record) -> None:
        """Know a record that was written from here; of two whose answers come in another order the newer one."""
        ahead = self._ahead.get(record.name)
        if isinstance(ahead, Record):
            is_old = record.revision <= ahead.revision
        else:
            is_old = ahead is not None and ahead.is_of(record)
        if record.revision > self.revision and not is_old:
            self._ahead[record.name] = record

    def deleted(self, record: Record) -> None:
        """Know that a record was deleted from here."""
        gone, ahead = Gone(record.uid, record.revision), self._ahead.get(record.name)
        if isinstance(ahead, Record) and not gone.is_of(ahead):  # (it was made anew before the answer came)
            return
        known = self._records.get(record.name)
        # (else the event of its deletion was seen before the answer came)
        if record.revision > self.revision or (known is not None and known.uid == record.uid):
            self._ahead[record.name] = gone

    async def _follow(self) -> None:
        """Follow for ever: whatever a watch is answered, the next may be answered otherwise."""
        gone = False
        while True:
            try:
                if gone:
                    await self._read_again()
                    gone = False
                await self._watch()
            except HistoryGone as error:
                say(log, logging.INFO, "%s: %s; it is read again", self._scope, error)
                gone = True
            except Exception as error:
                self._miss(error)
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))
            self._pause = min(2 * self._pause, _AGAIN_SECONDS[1])

    async def _watch(self) -> None:
        """Take over what one watch tells; that it begins is not enough to go by, for it may fail at once, each time."""
        begin, lasting = self.revision, None
        try:
            async for change in self._store.watch(self._scope, begin):
                if change.revision > begin:
                    self._hear()
                elif lasting is None:
                    lasting = asyncio.get_running_loop().call_later(_LASTING_SECONDS, self._hear)
                if self.stale_since is None:
                    self._heard_at = time.monotonic()
                self._take(change)
        finally:
            if lasting is not None:
                lasting.cancel()

    def _hear(self) -> None:
        """Know that what there is is followed now."""
        now = time.monotonic()
        self._pause = _AGAIN_SECONDS[0]
        if self.stale_since is not None:
            words = "%s are followed again, after %.1f s"
            say(log, logging.WARNING, words, self._scope, now - self.stale_since)
        self.stale_since, self._heard_at = None, now

    def _miss(self, error: Exception) -> None:
        """Know that it is not: what is known may be old."""
        if self.stale_since is None:
            self.stale_since = self._heard_at
            unknown = None if isinstance(error, CoordinationError) else error
            words = "%s can't be followed, what is read of them may be old: %s"
            say(log, logging.WARNING, words, self._scope, error, error=unknown)

    async def _read_again(self) -> None:
        """Tell of the gap, and then of what has changed in it: also back, where the server has lost what it had."""
        before = dict(self._ahead)
        records, revision = await self._store.list(self._scope)
        there = {record.name: record for record in records}
        self._tell(Gap(revision), None)
        for name, record in list(self._records.items()):
            if name not in there or there[name].uid != record.uid:
                self._take(Change(self.revision, record, deleted=True))
        for record in sorted(records, key=lambda record: record.revision):
            known = self._records.get(record.name)
            if known is None or known.revision != record.revision:
                self._take(Change(record.revision, record), again=True)
        self.revision = revision
        # (what was written before the list was asked for is in it, or lost)
        meanwhile = {name: one for name, one in self._ahead.items() if before.get(name) is not one}
        self._ahead = {name: one for name, one in meanwhile.items() if self._is_ahead(name, one)}

    def _is_ahead(self, name: str, one: Record | Gone) -> bool:
        """Whether what was written from here has not been seen yet."""
        known = self._records.get(name)
        still = isinstance(one, Gone) and known is not None and known.uid == one.uid
        return still or one.revision > self.revision

    def _take(self, change: Change, *, again: bool = False) -> None:
        """Take a change over; one that is older than what is known only where all is read again."""
        self.revision = max(self.revision, change.revision)
        record = change.record
        if record is None:
            return
        known = self._records.get(record.name)
        if change.deleted:
            if known is None or known.uid != record.uid:
                return
            del self._records[record.name]
        else:
            if known is not None and known.revision >= record.revision and not again:
                return
            self._records[record.name] = record
        self._catch_up(record, deleted=change.deleted)
        self._tell(change, known)

    def _catch_up(self, record: Record, *, deleted: bool) -> None:
        """Drop what was known ahead and has been seen now."""
        ahead = self._ahead.get(record.name)
        if isinstance(ahead, Record):
            seen = record.revision >= ahead.revision or (deleted and record.uid == ahead.uid)
        else:
            seen = ahead is not None and (not ahead.is_of(record) or (deleted and record.uid == ahead.uid))
        if seen:
            del self._ahead[record.name]

    def _tell(self, change: Change | Gap, before: Record | None) -> None:
        for listener in list(self._listeners):
            listener(change, before)
