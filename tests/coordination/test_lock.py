"""What a lock promises, at each server; time passes as it does."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.coordination.conftest import PATIENCE, Place
from tests.coordination.locks import LONG, SECONDS, Bench, Faulty, run

from gristmill.coordination.acquiring import Acquisition, give_up
from gristmill.coordination.aio import Client
from gristmill.coordination.clock import boot_time
from gristmill.coordination.election import Election
from gristmill.coordination.errors import LockLost, LockTimeout, NotHeld
from gristmill.coordination.lock import Lock, Token
from gristmill.coordination.port import HOLDER, TRANSITIONS, Kind, Record


@asynccontextmanager
async def dead_holder(bench: Bench) -> AsyncIterator[Lock]:
    """A holder that has died: it does nothing any more."""
    lock = bench.lock()
    await lock.acquire()
    lock._keeping.cancel()  # type: ignore[union-attr]
    yield lock


def test_a_free_lock_is_had_at_once_and_leaves_nothing(place: Place) -> None:
    async def test(bench: Bench) -> None:
        lock = bench.lock()
        assert not lock.held
        async with lock:
            assert lock.held
            assert (await bench.record()).fields[HOLDER].startswith("me-")
            assert lock.token.lock == bench.name
        assert not lock.held
        assert await bench.record() is None
        assert not lock.lost.is_set()

    run(place, test)


def test_a_held_lock_is_not_had(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async with bench.lock():
            other = bench.lock(timeout=0.2)
            assert not await other.acquire(blocking=False)
            assert not await other.acquire(0)
            assert not await other.acquire(0.3)
            with pytest.raises(
                LockTimeout, match=r"not had within 0\.2 s: me-.* has it, and renewed it last"
            ):
                await other.__aenter__()
            record = await bench.record()
            assert not [field for field in record.fields if field.startswith("waiter")]
        assert await other.acquire(blocking=False)
        await other.release()

    run(place, test)


def test_who_waits_has_it_in_turn_and_each_token_is_higher(place: Place) -> None:
    async def test(bench: Bench) -> None:
        turns: list[int] = []
        tokens: list[int] = []
        inside = 0

        async def take(n: int) -> None:
            nonlocal inside
            async with bench.lock() as lock:
                inside += 1
                assert inside == 1
                turns.append(n)
                tokens.append(lock.token.number)
                await asyncio.sleep(0.01)
                inside -= 1

        async with bench.lock() as first:
            tokens.append(first.token.number)
            tasks = []
            for n in range(6):
                tasks.append(asyncio.create_task(take(n)))
                waiting = 0
                while waiting <= n:
                    fields = (await bench.record()).fields
                    waiting = sum(field.startswith("waiter") for field in fields)
        await asyncio.gather(*tasks)
        assert turns == list(range(6))
        assert tokens == sorted(set(tokens))
        async with bench.lock() as lock:
            assert lock.token.number > tokens[-1]
        assert await bench.record() is None

    run(place, test)


def test_a_lock_is_held_for_longer_than_its_lease(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async with bench.lock() as lock:
            waiter = asyncio.create_task(bench.lock().acquire(3 * SECONDS))
            assert not await waiter
            assert lock.held

    run(place, test)


def test_what_a_dead_holder_held_is_had_after_its_time_and_not_before(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async with dead_holder(bench) as dead:
            other = bench.lock()
            begin = time.monotonic()
            taken = asyncio.create_task(other.acquire())
            while not taken.done():
                lost, had = not dead.held, other.held
                assert lost or not had
                await asyncio.sleep(0.005)
            assert SECONDS * 0.9 < time.monotonic() - begin < SECONDS + PATIENCE
            assert other.token.number > dead._hold.number  # type: ignore[union-attr]
            with pytest.raises(LockLost, match="lost"):
                _ = dead.token
            await other.release()

    run(place, test)


def test_who_tries_again_after_a_dead_holders_time_has_it_without_waiting(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async with dead_holder(bench):
            other = bench.lock()
            begin = time.monotonic()
            while not await other.acquire(blocking=False):
                assert time.monotonic() - begin < SECONDS + PATIENCE
                await asyncio.sleep(0.05)
            assert time.monotonic() - begin > SECONDS * 0.9
            await other.release()

    run(place, test)


def test_a_waiter_that_died_holds_up_those_behind_it_for_a_second(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async with bench.lock():
            first = asyncio.create_task(bench.lock().acquire())
            while not [one for one in (await bench.record()).fields if one.startswith("waiter")]:
                pass
            waiter = next(one for one in (await bench.record()).fields if one.startswith("waiter"))
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            assert waiter not in (await bench.record()).fields
            await bench.store.update(Kind.LOCK, bench.name, {"waiter-dead-1": "0", "waiter-dead-2": "0"})
            other = bench.lock()
            taken = asyncio.create_task(other.acquire())
            while len((await bench.record()).fields) < 8:
                pass
        begin = time.monotonic()
        assert await taken
        assert 0.5 < time.monotonic() - begin < PATIENCE
        assert not [one for one in (await bench.record()).fields if one.startswith("waiter")]
        await other.release()

    run(place, test)


def test_who_comes_and_may_wait_does_not_push_in(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async with bench.lock():
            await bench.store.update(Kind.LOCK, bench.name, {"waiter-slow": "1"})
        assert (await bench.record()).fields.get(HOLDER) is None
        other = bench.lock(timeout=0.2)
        assert not await other.acquire(0)
        with pytest.raises(LockTimeout, match="nobody has it, and others wait before"):
            await other.__aenter__()

    run(place, test)


def test_who_may_not_wait_takes_what_is_free_though_somebody_dead_or_not_stands_in_line(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async with bench.lock():
            await bench.store.update(Kind.LOCK, bench.name, {"waiter-slow": "1"})
            assert not await bench.lock().acquire(blocking=False)
        other = bench.lock()
        assert await other.acquire(blocking=False)
        assert (await bench.record()).fields["waiter-slow"] == "1"
        await other.release()
        assert (await bench.record()).fields["waiter-slow"] == "1"

    run(place, test)


def test_a_lock_that_was_had_too_late_is_not_had(place: Place) -> None:
    """Its time, which begins before one asks, is over when the answer comes; another has taken it, or nobody has."""

    async def test(bench: Bench) -> None:
        for taken in (True, False):
            late = 0.0

            class Slow(Faulty):
                async def create(self, *args: Any) -> Any:
                    nonlocal late
                    made = await self._store.create(*args)
                    if taken:  # noqa: B023
                        await self._store.update(Kind.LOCK, bench.name, {HOLDER: "another"})
                    late += SECONDS
                    return made

            lock = bench.lock(Slow(bench.store), clock=lambda: boot_time() + late)  # type: ignore[arg-type]  # noqa: B023
            assert await lock.acquire(SECONDS + 0.5) != taken
            assert lock.held != taken
            if taken:
                assert (await bench.record()).fields[HOLDER] == "another"
                await bench.store.delete(Kind.LOCK, bench.name)
            else:
                await lock.release()
                assert await bench.record() is None

    run(place, test)


def test_a_lock_that_is_deleted_under_its_holder_is_lost_and_no_token_falls(place: Place) -> None:
    async def test(bench: Bench) -> None:
        lock = bench.lock()
        await lock.acquire()
        first = lock.token.number
        await bench.store.delete(Kind.LOCK, bench.name)
        other = bench.lock()
        assert await other.acquire(5)
        assert other.token.number > first
        await asyncio.wait_for(lock.lost.wait(), PATIENCE)
        assert not lock.held
        with pytest.raises(LockLost):
            await lock.release()
        assert other.held
        await other.release()

    run(place, test)


def test_a_lock_that_is_taken_away_is_lost(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async with bench.lock() as lock:
            await bench.store.update(Kind.LOCK, bench.name, {HOLDER: "thief"})
            await asyncio.wait_for(lock.lost.wait(), PATIENCE)
            with pytest.raises(LockLost, match="lost before it was released"):
                await lock.release()
            await bench.store.delete(Kind.LOCK, bench.name)
            await lock.acquire()

    run(place, test)


def test_a_lock_is_lost_where_the_server_is_away_and_before_others_may_have_it(place: Place) -> None:
    async def test(bench: Bench) -> None:
        faulty = Faulty(bench.store)
        lock = bench.lock(faulty)  # type: ignore[arg-type]
        await lock.acquire()
        faulty.away = True
        other = bench.lock()
        taken = asyncio.create_task(other.acquire())
        await asyncio.wait_for(lock.lost.wait(), PATIENCE)
        assert not taken.done()
        assert await taken
        await other.release()

    run(place, test)


def test_a_lock_survives_a_server_that_is_away_for_a_moment(place: Place) -> None:
    async def test(bench: Bench) -> None:
        faulty = Faulty(bench.store)
        async with bench.lock(faulty) as lock:  # type: ignore[arg-type]
            revision = (await bench.record()).revision
            faulty.faults = ["before"]
            while (await bench.record()).revision == revision:
                await asyncio.sleep(0.05)
            assert not faulty.faults
            assert lock.held

    run(place, test)


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_lost_answer_on_the_way_to_the_lock_does_no_harm(place: Place, fault: str, step: int) -> None:
    """Its steps: it can't be made, one joins those who wait, and takes it."""

    async def test(bench: Bench) -> None:
        faulty = Faulty(bench.store)
        faulty.faults = [""] * step + [fault]
        lock = bench.lock(faulty, seconds=LONG)  # type: ignore[arg-type]
        async with bench.lock(seconds=LONG):
            taken = asyncio.create_task(lock.acquire())
            while not [one for one in (await bench.record()).fields if one.startswith("waiter")]:
                await asyncio.sleep(0.02)
        assert await taken
        assert not faulty.faults
        assert lock.held
        assert lock.token.number <= (await bench.record()).revision
        await lock.release()
        assert await bench.record() is None

    run(place, test)


@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_lost_answer_to_the_making_and_the_deletion_of_a_lock_does_no_harm(
    place: Place, fault: str
) -> None:
    async def test(bench: Bench) -> None:
        faulty = Faulty(bench.store)
        lock = bench.lock(faulty)  # type: ignore[arg-type]
        faulty.faults = [fault]
        assert await lock.acquire()
        faulty.faults = [fault]
        await lock.release()
        assert not faulty.faults
        assert await bench.record() is None

    run(place, test)


@pytest.mark.parametrize("fault", ["before", "after"])
def test_who_is_cancelled_on_the_way_holds_nothing(place: Place, fault: str) -> None:
    async def test(bench: Bench) -> None:
        for pause in (0.0, 0.001, 0.005, 0.02, 0.1):
            faulty = Faulty(bench.store)
            faulty.faults = [fault]
            task = asyncio.create_task(bench.lock(faulty).acquire())  # type: ignore[arg-type]
            await asyncio.sleep(pause)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await bench.record() is None

    run(place, test)


def test_wrong_use_is_told(place: Place) -> None:
    async def test(bench: Bench) -> None:
        lock = bench.lock()
        with pytest.raises(NotHeld, match="acquire it first"):
            _ = lock.token
        with pytest.raises(NotHeld, match="never acquired, or has been released"):
            await lock.release()
        async with lock:
            with pytest.raises(NotHeld, match="held by this handle already"):
                await lock.acquire()
        with pytest.raises(NotHeld, match="has been released before"):
            await lock.release()
        with pytest.raises(ValueError, match="timeout"):
            await lock.acquire(-1)
        with pytest.raises(ValueError, match="timeout"):
            await lock.acquire(1, blocking=False)

    run(place, test)


def test_a_loss_does_not_hide_what_was_raised_inside(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async def work(error: Exception | None) -> None:
            async with bench.lock() as lock:
                await bench.store.delete(Kind.LOCK, bench.name)
                await asyncio.wait_for(lock.lost.wait(), PATIENCE)
                if error:
                    raise error

        with pytest.raises(KeyError):
            await work(KeyError("mine"))
        with pytest.raises(LockLost):
            await work(None)

    run(place, test)


def test_programs_that_seed_their_chance_alike_are_two_holders(place: Place) -> None:
    async def test(bench: Bench) -> None:
        clients = []
        for _ in range(2):
            random.seed(42)
            clients.append(Client(bench.store, identity="w", clock=boot_time))
        first, second = (client.lock(bench.name, seconds=SECONDS) for client in clients)
        random.seed(42)
        assert await first.acquire()
        random.seed(42)
        assert not await second.acquire(0)
        await first.release()

    run(place, test)


def test_of_a_long_name_of_a_holder_the_end_is_shown(place: Place) -> None:
    async def test(bench: Bench) -> None:
        name = "recommendation-service-production-7d9f8b6c5d-x7k2p"
        async with Client(bench.store, identity=f"{name}-17").lock(bench.name):
            assert "-7d9f8b6c5d-x7k2p-17-" in (await bench.record()).fields[HOLDER]

    run(place, test)


def test_who_saw_it_free_a_moment_ago_does_not_take_it(place: Place) -> None:
    async def test(bench: Bench) -> None:
        free = await bench.store.create(Record(Kind.LOCK, bench.name, fields={"waiter-x": "1"}))
        first, second = (Acquisition(bench.store, bench.name, who, SECONDS, boot_time) for who in "ab")
        assert await first._claim(free)
        assert await second._claim(free) is None
        assert (await bench.record()).fields[HOLDER] == "a"

    run(place, test)


@pytest.mark.parametrize("changed", ["0", "1"])
def test_who_gives_up_what_another_has_taken_leaves_it(place: Place, changed: str) -> None:
    async def test(bench: Bench) -> None:
        mine = await bench.store.create(
            Record(Kind.LOCK, bench.name, fields={HOLDER: "me", TRANSITIONS: changed})
        )
        theirs = await bench.store.update(Kind.LOCK, bench.name, {HOLDER: "thief"})
        await give_up(bench.store, mine, "me")
        assert await bench.record() == theirs

    run(place, test)


def test_who_gives_up_does_not_delete_what_somebody_has_come_for(place: Place) -> None:
    async def test(bench: Bench) -> None:
        mine = await bench.store.create(
            Record(Kind.LOCK, bench.name, fields={HOLDER: "me", TRANSITIONS: "1"})
        )

        class Slow(Faulty):
            async def update(self, *args: Any, **named: Any) -> Any:
                left = await self._store.update(*args, **named)
                await self._store.update(Kind.LOCK, bench.name, {"waiter-x": "1"})
                return left

        await give_up(Slow(bench.store), mine, "me")  # type: ignore[arg-type]
        assert "waiter-x" in (await bench.record()).fields

    run(place, test)


def test_a_leader_that_is_cancelled_leads_until_its_work_has_ended(place: Place) -> None:
    async def test(bench: Bench) -> None:
        election, other = Election(bench.lock()), bench.lock()
        leads, cleaned = asyncio.Event(), asyncio.Event()
        told: list[bool] = []

        async def lead(token: Token) -> None:
            leads.set()
            try:
                await asyncio.Event().wait()
            finally:
                told.append(await other.acquire(0.3))
                told.append(election.leads)
                cleaned.set()

        leading = asyncio.create_task(election.run(lead))
        await leads.wait()
        leading.cancel()
        await asyncio.wait({leading})
        assert leading.cancelled()
        assert cleaned.is_set()
        assert told == [False, True]
        assert not election.leads
        assert await other.acquire(0)
        await other.release()

    run(place, test)


def test_a_leader_whose_client_is_closed_leads_no_more(place: Place) -> None:
    async def test(bench: Bench) -> None:
        lock = bench.lock()
        leads, told = asyncio.Event(), asyncio.Event()

        async def lead(token: Token) -> None:
            leads.set()
            await asyncio.Event().wait()

        leading = asyncio.create_task(Election(lock).run(lead, told.set))
        await leads.wait()
        await lock.close()
        with pytest.raises(LockLost):
            await asyncio.wait_for(leading, 5)
        assert told.is_set()
        assert await bench.record() is None

    run(place, test)
