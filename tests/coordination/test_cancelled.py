"""Who is cancelled while a lock is taken or led by holds nothing, and learns that it was cancelled."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.coordination.conftest import Place, until
from tests.coordination.locks import SECONDS, Bench, run

from gristmill.coordination.aio import Client
from gristmill.coordination.election import Election
from gristmill.coordination.errors import NotHeld
from gristmill.coordination.lock import Token
from gristmill.coordination.port import Kind


async def had(lock: Any) -> None:
    """Wait until the lock was had in another task; who has asked for it does not know yet."""
    while lock._taking is None or not lock._taking.done():
        await asyncio.sleep(0)


def test_who_is_cancelled_as_it_gets_the_lock_does_not_hold_it(place: Place) -> None:
    async def test(bench: Bench) -> None:
        lock = bench.lock(seconds=60)
        task = asyncio.create_task(lock.acquire())
        await had(lock)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert not lock.held
        assert await bench.record() is None
        with pytest.raises(NotHeld, match="never acquired"):
            await lock.release()
        assert await lock.acquire(blocking=False)
        await lock.release()

    run(place, test)


def test_a_lock_that_was_had_too_late_for_its_client_is_given_up(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async with place.store() as store:
            client = Client(store)
            lock = client.lock(bench.name)
            task = asyncio.create_task(lock.acquire())
            await had(lock)
            task.cancel()
            await client.close()
            await asyncio.wait({task})
            assert task.cancelled()
            assert await bench.record() is None

    run(place, test)


def test_a_handle_that_waits_elsewhere_is_waited_for_no_longer_than_is_said(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async with bench.lock(seconds=60):
            lock = bench.lock()
            waiting = asyncio.create_task(lock.acquire())
            await until(lambda: lock._taking is not None)
            assert not await asyncio.wait_for(lock.acquire(blocking=False), 5)
            assert not await asyncio.wait_for(lock.acquire(0), 5)
            begin = time.monotonic()
            assert not await asyncio.wait_for(lock.acquire(0.3), 5)
            assert time.monotonic() - begin >= 0.3
        assert await waiting
        with pytest.raises(NotHeld, match="held by this handle already"):
            await lock.acquire(blocking=False)
        await lock.release()

    run(place, test)


def test_who_does_not_want_to_wait_does_not_where_the_turn_is_just_given_to_who_waits(place: Place) -> None:
    async def test(bench: Bench) -> None:
        lock = bench.lock()

        async def ask_twice() -> bool:
            assert not await lock.acquire(0.3)
            async with asyncio.timeout(5):
                return await lock.acquire(blocking=False)

        async with bench.lock(seconds=60):
            asking = asyncio.create_task(ask_twice())
            await until(lambda: lock._taking is not None)
            waiting = asyncio.create_task(lock.acquire())
            assert not await asking
        assert await waiting
        await lock.release()

    run(place, test)


def test_a_candidate_that_is_cancelled_while_it_ends_what_it_lost_leads_no_more(place: Place) -> None:
    async def test(bench: Bench) -> None:
        election = Election(bench.lock())
        elected: list[Token] = []
        ends, go_on, cleaned = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def lead(token: Token) -> None:
            elected.append(token)
            try:
                await asyncio.Event().wait()
            finally:
                ends.set()
                await go_on.wait()
                cleaned.set()

        async def candidate() -> None:
            while True:
                try:
                    await election.run(lead)
                except NotHeld:
                    continue

        task = asyncio.create_task(candidate())
        await until(lambda: elected)
        await bench.store.delete(Kind.LOCK, bench.name)
        await asyncio.wait_for(ends.wait(), 10)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait({task}, timeout=SECONDS)
        assert task.cancelled()
        assert cleaned.is_set()
        assert len(elected) == 1
        assert await bench.record() is None

    run(place, test)


def test_who_is_cancelled_as_it_gives_the_lock_up_has_given_it_up(place: Place) -> None:
    async def test(bench: Bench) -> None:
        for turns in range(3):
            lock = bench.lock(seconds=60)
            await lock.acquire()
            task = asyncio.create_task(lock.release())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            if not turns:  # (it had not begun)
                await lock.release()
            other = bench.lock()
            assert await other.acquire(5)
            await other.release()

    run(place, test)
