"""One handle of a lock, used by two tasks, threads, or a program and its signals' handlers at the same time."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time

import pytest
from tests.coordination.conftest import Place, until
from tests.coordination.locks import SECONDS, Bench, run
from tests.protocol.harness import Server

from gristmill.coordination import connect
from gristmill.coordination.errors import LockLost, NotHeld
from gristmill.coordination.lock import Token


@pytest.mark.parametrize("loses", [False, True])
def test_who_gives_up_what_another_waits_for_by_the_same_handle_is_told_and_not_waited_for(
    place: Place, loses: bool
) -> None:
    """Also where the handle has lost the lock before it waits for it again."""

    async def test(bench: Bench) -> None:
        lock, other = bench.lock(), bench.lock(seconds=60)
        if loses:
            await lock.acquire()
            lock._hold.until = 0.0  # type: ignore[union-attr]
            await bench.store.delete(lock._hold.record.kind, bench.name)  # type: ignore[union-attr]
        await other.acquire()
        waiting = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        begin = time.monotonic()
        with pytest.raises(NotHeld, match="is waited for by this handle"):
            await lock.release()
        assert time.monotonic() - begin < SECONDS
        await until(lambda: not other._unended)
        await other.release()
        assert await waiting
        await lock.release()

    run(place, test)


def test_a_handler_gives_up_what_it_has_interrupted_the_wait_for_and_the_program_ends(
    valkey: Server,
) -> None:
    namespace, begin = secrets.token_hex(4), time.monotonic()
    with (
        connect(valkey.url, namespace=namespace) as client,
        connect(valkey.url, namespace=namespace) as other,
    ):
        lock, told = client.lock("l"), list[str]()
        assert other.lock("l").acquire()

        def ring(*_: object) -> None:
            try:
                lock.release()
            except NotHeld as error:
                told.append(str(error))
            raise SystemExit(3)

        former = signal.signal(signal.SIGALRM, ring)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(SystemExit):
                lock.acquire(20)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, former)
    assert time.monotonic() - begin < 10
    assert len(told) == 1


def test_a_lock_that_another_thread_gives_up_while_it_is_asked_is_held_or_is_not(place: Place) -> None:
    async def test(bench: Bench) -> None:
        lock = bench.lock()
        await lock.acquire()
        hold, real = lock._hold, lock._clock
        assert hold is not None

        def meanwhile() -> float:
            lock._hold = None
            return real()

        lock._clock = meanwhile
        assert lock.held
        assert not lock.held
        lock._hold = hold
        assert lock.token == Token(bench.name, hold.number)
        lock._hold, lock._clock = hold, lambda: hold.until
        with pytest.raises(LockLost):
            _ = lock.token
        lock._clock = real
        await lock.release()

    run(place, test)
