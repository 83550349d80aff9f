"""A client that is closed leaves nothing behind: whatever is under way then, and whoever is cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.coordination.conftest import PATIENCE, Place
from tests.coordination.locks import Bench, run

from gristmill.coordination.aio import Client
from gristmill.coordination.errors import Closed
from gristmill.coordination.port import Kind, Scope, Store


class Gated:
    """A store whose calls of a name are made, or refused by an error, when a gate has been opened."""

    def __init__(self, store: Store, call: str, kind: Kind, error: Exception | None = None) -> None:
        self._store = store
        self._call = call
        self._kind = kind
        self._error = error
        self.asked, self.gate = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)
        if name != self._call:
            return call

        async def gated(what: Any, *args: Any, **named: Any) -> Any:
            if self._kind in (what, getattr(what, "kind", None)):
                self.asked.set()
                await self.gate.wait()
                if self._error is not None:
                    raise self._error
            return await call(what, *args, **named)

        return gated


async def settle() -> None:
    """Let all go on that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and let it learn of it."""
    task.cancel()
    await settle()


async def left(bench: Bench) -> list[Any]:
    """Return the lock, and the sessions of the tree of its name, where there are some."""
    sessions, _ = await bench.store.list(Scope(Kind.SESSION, bench.name))
    return [one for one in (await bench.record(), *sessions) if one is not None]


def test_who_closes_again_after_a_close_that_was_cancelled_has_it_closed_in_full(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async with place.store() as store:
            gated = Gated(store, "delete", Kind.LOCK)
            client = Client(gated)  # type: ignore[arg-type]
            await (await client.tree(bench.name)).create("/a", ephemeral=True)
            await client.lock(bench.name).acquire()
            closing = asyncio.create_task(client.close())
            await gated.asked.wait()
            await cancel(closing)
            assert closing.cancelled()
            assert len(await left(bench)) == 2
            again = asyncio.create_task(client.close())
            await settle()
            assert not again.done()
            gated.gate.set()
            await asyncio.wait_for(again, PATIENCE)
            assert not await left(bench)

    run(place, test)


def test_trees_are_closed_whatever_a_lock_did_and_its_error_is_told(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async with place.store() as store:
            gated = Gated(store, "delete", Kind.LOCK, ValueError("it broke"))
            gated.gate.set()
            client = Client(gated)  # type: ignore[arg-type]
            await (await client.tree(bench.name)).create("/a", ephemeral=True)
            lock = client.lock(bench.name)
            await lock.acquire()
            with pytest.raises(ValueError, match="it broke"):
                await client.close()
            assert [one.kind for one in await left(bench)] == [Kind.LOCK]

    run(place, test)


def test_a_session_that_is_made_while_the_client_is_closed_ends_with_it(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async with place.store() as store:
            gated = Gated(store, "create", Kind.SESSION)
            client = Client(gated)  # type: ignore[arg-type]
            tree = await client.tree(bench.name)
            making = [asyncio.create_task(tree.create(f"/{n}", ephemeral=True)) for n in range(2)]
            await gated.asked.wait()
            closing = asyncio.create_task(client.close())
            await settle()
            gated.gate.set()
            await asyncio.wait_for(closing, PATIENCE)
            for one in making:
                with pytest.raises(Closed):
                    await asyncio.wait_for(one, PATIENCE)
            assert not await left(bench)
            assert not [one for one in asyncio.all_tasks() if one.get_name().startswith("session ")]

    run(place, test)


@pytest.mark.parametrize("times", [1, 2])
def test_who_is_cancelled_before_the_lock_was_answered_holds_it_no_more_when_the_client_is_closed(
    place: Place, times: int
) -> None:
    async def test(bench: Bench) -> None:
        async with place.store() as store:
            gated = Gated(store, "create", Kind.LOCK)
            client = Client(gated)  # type: ignore[arg-type]
            task = asyncio.create_task(client.lock(bench.name).acquire())
            await gated.asked.wait()
            for _ in range(times):
                await cancel(task)
            await is_closed_after(client, gated, bench)
            assert task.cancelled()

    run(place, test)


def test_who_is_cancelled_while_the_client_is_closed_before_the_lock_was_answered_holds_nothing(
    place: Place,
) -> None:
    async def test(bench: Bench) -> None:
        async with place.store() as store:
            gated = Gated(store, "create", Kind.LOCK)
            client = Client(gated)  # type: ignore[arg-type]
            task = asyncio.create_task(client.lock(bench.name).acquire())
            await gated.asked.wait()
            closing = asyncio.create_task(client.close())
            await settle()
            await cancel(task)
            await is_closed_after(client, gated, bench)
            assert task.cancelled()
            await closing

    run(place, test)


def test_who_is_cancelled_while_the_lock_is_given_up_has_given_it_up_when_the_client_is_closed(
    place: Place,
) -> None:
    async def test(bench: Bench) -> None:
        async with place.store() as store:
            gated = Gated(store, "delete", Kind.LOCK)
            client = Client(gated)  # type: ignore[arg-type]
            lock = client.lock(bench.name)
            await lock.acquire()
            task = asyncio.create_task(lock.release())
            await gated.asked.wait()
            await cancel(task)
            await is_closed_after(client, gated, bench)

    run(place, test)


async def is_closed_after(client: Client, gated: Gated, bench: Bench) -> None:
    """Close a client, let its store answer meanwhile, and see that nothing of the lock is left."""
    closing = asyncio.create_task(client.close())
    await settle()
    assert not closing.done()
    gated.gate.set()
    await asyncio.wait_for(closing, PATIENCE)
    assert not await left(bench)
