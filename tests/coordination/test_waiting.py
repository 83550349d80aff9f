"""Who waits for a lock, where what is heard of it is late or nothing at all."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.coordination.conftest import Place, until
from tests.coordination.locks import SECONDS, Bench, Faulty, run
from tests.protocol.harness import Server

from gristmill.coordination import leases, saying
from gristmill.coordination.aio import Client
from gristmill.coordination.errors import Denied, HistoryGone, Missing, Refused, Unavailable
from gristmill.coordination.port import RENEWED, Change, Kind, Record, Store
from gristmill.coordination.valkey import ValkeyStore


def test_who_hears_nothing_of_a_holder_that_renews_does_not_take_the_lock(place: Place) -> None:
    """A waiter whose watch stands still, while its own calls reach the server."""

    async def test(bench: Bench) -> None:
        class Still(Faulty):
            async def watch(self, *args: Any) -> AsyncIterator[Any]:
                await asyncio.Event().wait()
                yield

        async with bench.lock() as lock:
            renewals = 0
            waiting = asyncio.create_task(bench.lock(Still(bench.store)).acquire(2.5 * SECONDS))  # type: ignore[arg-type]
            last = (await bench.record()).fields.get(RENEWED)
            while not waiting.done():
                now = (await bench.record()).fields[RENEWED]
                renewals, last = renewals + (now != last), now
                await asyncio.sleep(0.01)
            assert not waiting.result()
            assert lock.held
            assert renewals > 2

    run(place, test)


class Breaking(Faulty):
    """A store whose next watches raise an error each: the first of all when it has told something."""

    def __init__(self, store: Store, *errors: Exception, at_once: bool = False) -> None:
        super().__init__(store)
        self.errors = list(errors)
        self._tells = not at_once

    async def watch(self, *args: Any) -> AsyncIterator[Any]:
        error = self.errors.pop(0) if self.errors else None
        if error is None or self._tells:
            async for change in self._store.watch(*args):
                yield change
                if error is not None:
                    break
        self._tells = False
        if error is not None:
            raise error


async def waits_through(bench: Bench, breaking: Breaking) -> None:
    """Wait for a lock that is given up when all errors have been raised, and have it."""
    async with bench.lock():
        lock = bench.lock(breaking)  # type: ignore[arg-type]
        waiting = asyncio.create_task(lock.acquire())
        await until(lambda: waiting.done() or not breaking.errors)
        assert not waiting.done()
    assert await asyncio.wait_for(waiting, 10)
    await lock.release()


def test_who_waits_waits_on_where_the_server_is_away_as_its_watch_begins(place: Place) -> None:
    async def test(bench: Bench) -> None:
        errors = [Unavailable("it does not answer")] * 2
        await waits_through(bench, Breaking(bench.store, *errors, at_once=True))

    run(place, test)


def test_who_waits_waits_on_where_a_watch_can_not_be_begun_again_for_a_while(place: Place) -> None:
    async def test(bench: Bench) -> None:
        kinds = (Unavailable, Denied, Refused, Missing)
        await waits_through(bench, Breaking(bench.store, *(kind("for now") for kind in kinds)))

    run(place, test)


def test_who_waits_and_may_not_watch_is_told(place: Place) -> None:
    async def test(bench: Bench) -> None:
        breaking = Breaking(bench.store, Denied("it may not watch"), at_once=True)
        async with bench.lock():
            with pytest.raises(Denied, match="may not watch"):
                await asyncio.wait_for(bench.lock(breaking).acquire(), 10)  # type: ignore[arg-type]
            assert not [one for one in (await bench.record()).fields if one.startswith("waiter")]

    run(place, test)


def test_who_waits_while_nothing_can_be_watched_is_told_in_time(place: Place) -> None:
    async def test(bench: Bench) -> None:
        breaking = Breaking(bench.store, *[Unavailable("it does not answer")] * 1000, at_once=True)
        async with bench.lock():
            begin = time.monotonic()
            assert not await asyncio.wait_for(bench.lock(breaking).acquire(1.2), 10)  # type: ignore[arg-type]
            assert time.monotonic() - begin >= 1.2
            assert len(breaking.errors) > 950, "it asks all the time"

    run(place, test)


class Away(Faulty):
    """A store that can't be watched while there are `errors`, and then tells nothing but that it is there again."""

    def __init__(self, store: Store, *errors: str) -> None:
        super().__init__(store)
        self.errors = list(errors)
        self.back, self.cut = asyncio.Event(), asyncio.Event()

    async def watch(self, scope: Any, revision: int) -> AsyncIterator[Any]:
        if not self.errors:
            yield Change(revision)
            self.back.set()
            await self.cut.wait()
        raise Unavailable(self.errors.pop(0))


def test_who_stands_in_line_is_told_once_each_time_that_the_server_is_away(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Long before its turn."""

    async def test(bench: Bench) -> None:
        away = Away(bench.store, *["it is away"] * 3)
        async with bench.lock(seconds=600):
            waiting = asyncio.create_task(bench.lock(away).acquire())  # type: ignore[arg-type]
            await until(away.back.is_set)
            away.back.clear()
            away.errors = ["it is away again"] * 3
            away.cut.set()
            await until(away.back.is_set)
            waiting.cancel()
            await asyncio.wait({waiting})
        saying._speaker.finish()
        expected = [
            f"lock {bench.name} can't be asked for now: {why}; it is tried again"
            for why in ("it is away", "it is away again")
        ]
        assert caplog.messages == expected

    run(place, test)


class Forgetful(Faulty):
    """A store whose server is started again, and knows nothing then of what was before `oldest`."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.again = asyncio.Event()
        self.oldest = self.gone = self.followed = 0

    async def watch(self, scope: Any, revision: int) -> AsyncIterator[Any]:
        if not self.again.is_set():
            await self.again.wait()
            raise Unavailable("it does not answer")
        if revision < self.oldest:
            self.gone += 1
            raise HistoryGone("too old")
        self.followed += 1
        async for change in self._store.watch(scope, revision):
            yield change


def test_who_waits_for_a_lock_that_was_written_too_long_ago_to_be_followed_from_there(place: Place) -> None:
    async def test(bench: Bench) -> None:
        forgetful = Forgetful(bench.store)
        async with bench.lock(seconds=60):
            waiting = asyncio.create_task(bench.lock(forgetful).acquire())  # type: ignore[arg-type]
            while not [one for one in (await bench.record()).fields if one.startswith("waiter")]:
                await asyncio.sleep(0.01)
            other = Record(Kind.SESSION, f"{bench.name}-other", bench.name)
            forgetful.oldest = (await bench.store.create(other)).revision
            forgetful.again.set()
            await until(lambda: forgetful.followed or forgetful.gone > 1)
            assert forgetful.gone == 1, "it asks all the time"
        assert await asyncio.wait_for(waiting, 10)

    run(place, test)


def test_a_lock_is_renewed_however_many_wait_in_the_same_process(valkey: Server) -> None:
    """Each of them has a connection that is busy."""

    async def whole() -> None:
        namespace = secrets.token_hex(4)
        beside = ValkeyStore(valkey.url, namespace)
        async with asyncio.timeout(60), Client(ValkeyStore(valkey.url, namespace)) as client:
            busy, mine = client.lock("busy"), client.lock("mine", seconds=6)
            await busy.acquire()
            await mine.acquire()
            waiting = [asyncio.create_task(client.lock("busy").acquire()) for _ in range(150)]
            while len(leases.waiting(await beside.get(Kind.LOCK, "busy"))) < len(waiting):  # type: ignore[arg-type]
                await asyncio.sleep(0.01)
            revisions = set()
            while len(revisions) < 4:
                assert mine.held
                revisions.add((await beside.get(Kind.LOCK, "mine")).revision)  # type: ignore[union-attr]
                await asyncio.sleep(0.05)
            for one in waiting:
                one.cancel()
            await asyncio.wait(waiting)
        await beside.close()

    asyncio.run(whole())
