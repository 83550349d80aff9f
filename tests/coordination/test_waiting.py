"""Who waits for a lock, where what is heard of it is late or nothing at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from tests.coordination.conftest import Place
from tests.coordination.locks import SECONDS, Bench, Faulty, run

from gristmill.coordination.port import RENEWED


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
