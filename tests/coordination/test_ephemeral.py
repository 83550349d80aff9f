"""What goes with the client that made it, at each server."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.coordination.conftest import PATIENCE, Place, until
from tests.coordination.trees import SECONDS, Bench, run, told

from gristmill.coordination.aio import Client
from gristmill.coordination.clock import boot_time, wall_time
from gristmill.coordination.errors import Closed
from gristmill.coordination.port import RENEWED, Kind, Record, Scope
from gristmill.coordination.port import SECONDS as SECONDS_FIELD
from gristmill.coordination.session import Reaper


def test_what_is_ephemeral_goes_when_its_client_closes(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        client = await bench.client()
        mine = await client.tree(bench.name, seconds=SECONDS)
        node = await mine.create("/members/a", "x", ephemeral=True)
        assert node.ephemeral
        await until(lambda: tree.children("/members") == ["a"])
        await client.close()
        await until(lambda: tree.children("/members") == [])

    run(place, test)


def test_what_is_ephemeral_stays_while_its_client_lives_and_vanishes_within_its_time_when_it_dies(
    place: Place,
) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        client = await bench.client()
        mine = await client.tree(bench.name, seconds=SECONDS)
        await mine.create("/members/a", "x", ephemeral=True)
        await until(lambda: tree.children("/members") == ["a"])
        watch = tree.watch(initial=False)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(watch), 2 * SECONDS)
        mine.session._keeping.cancel()  # type: ignore[union-attr]
        mine._reaping.cancel()  # type: ignore[union-attr]
        begin = time.monotonic()
        event = await anext(watch)
        assert told([event]) == [("deleted", "/members/a", b"x")]
        assert time.monotonic() - begin < SECONDS + PATIENCE

    run(place, test)


def test_a_client_that_dies_as_soon_as_it_has_made_something_is_noticed_in_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who follows the tree looks at a session when the first node of it comes, and not when it would look anyway."""
    monkeypatch.setattr("gristmill.coordination.session._MOST_SECONDS", 3600.0)

    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        client = await bench.client()
        mine = await client.tree(bench.name, seconds=SECONDS)
        await mine.create("/members/a", "x", ephemeral=True)
        mine.session._keeping.cancel()  # type: ignore[union-attr]
        mine._reaping.cancel()  # type: ignore[union-attr]
        await until(lambda: tree.children("/members") == ["a"])
        await until(lambda: tree.children("/members") == [])

    run(place, test)


def test_a_closed_client_says_so(place: Place) -> None:
    async def test(bench: Bench) -> None:
        client = await bench.client()
        tree, lock = await client.tree(bench.name), client.lock(bench.name)
        node = await tree.set("/a", "1")
        await client.close()
        for call in (
            lock.acquire,
            lambda: client.tree("t"),
            lambda: tree.set("/a", "2"),
            lambda: tree.set("/b", "2", version=0),
            lambda: tree.create("/b", ephemeral=True),
            lambda: tree.ensure("/a"),
            lambda: tree.delete("/a", version=node.version),
        ):
            with pytest.raises(Closed, match="connect again"):
                await call()
        for look in (tree.get, tree.walk, tree.children, tree.watch):
            with pytest.raises(Closed, match="connect again"):
                look("/a")
        async with place.store() as store:
            assert (await store.get(Kind.NODE, f"{bench.name}.a")).value == b"1"  # type: ignore[union-attr]

    run(place, test)


def test_who_closes_gives_up_every_lock_and_who_waits_is_told(place: Place) -> None:
    async def test(bench: Bench) -> None:
        client, other = await bench.client(), await bench.client()
        name = bench.name
        held = [client.lock(f"{name}.{n}") for n in range(3)]
        for lock in held[:2]:
            await lock.acquire()
        theirs = other.lock(f"{name}.2")
        await theirs.acquire()
        waiting = asyncio.create_task(held[2].acquire())
        while not any(
            field.startswith("waiter")
            for field in (await other._store.get(Kind.LOCK, f"{name}.2")).fields  # type: ignore[union-attr]
        ):
            await asyncio.sleep(0.01)
        await client.close()
        with pytest.raises(Closed, match="connect again"):
            await waiting
        for n in range(2):
            assert await other._store.get(Kind.LOCK, f"{name}.{n}") is None
        await theirs.release()
        assert await other._store.get(Kind.LOCK, f"{name}.2") is None

    run(place, test)


def test_what_is_ephemeral_after_a_session_was_lost_is_of_another_session(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        await tree.create("/a", ephemeral=True)
        lost = await tree.session.owner()
        await tree._store.delete(Kind.SESSION, lost.name)
        await until(lambda: tree.session_lost)
        await tree.create("/b", ephemeral=True)
        assert not tree.session_lost
        record = await tree._read("/b")
        assert record is not None
        assert record.owner not in (None, lost)
        assert await tree._store.get(Kind.SESSION, record.owner.name)  # type: ignore[union-attr]

    run(place, test)


def test_a_session_that_is_renewed_just_as_it_would_be_deleted_stays(place: Place) -> None:
    async def test(bench: Bench) -> None:
        now = 0.0
        async with place.store() as store:
            fields = {SECONDS_FIELD: "2", RENEWED: wall_time()}
            scope = Scope(Kind.SESSION, bench.name)
            session = await store.create(Record(Kind.SESSION, f"{bench.name}--s", bench.name, fields))

            class Renewed:
                def __getattr__(self, name: str) -> Any:
                    return getattr(store, name)

                async def delete(self, kind: Kind, name: str, **conditions: Any) -> None:
                    await store.update(kind, name, {RENEWED: wall_time()})
                    await store.delete(kind, name, **conditions)

            reaper = Reaper(Renewed(), scope, lambda: now)  # type: ignore[arg-type]
            await reaper.look()
            now += 2
            await reaper.look()
            assert (await store.get(Kind.SESSION, session.name)).fields[RENEWED] != fields[RENEWED]  # type: ignore[union-attr]
            reaper = Reaper(store, scope, lambda: now)
            await reaper.look()
            now += 2
            await reaper.look()
            assert await store.get(Kind.SESSION, session.name) is None

    run(place, test)


def test_a_session_that_took_the_place_of_one_that_was_slept_through_is_kept_and_the_only_one(
    place: Place,
) -> None:
    """The machine slept: the clock knows, and the loop's, by which a session waits to be renewed, does not."""

    async def test(bench: Bench) -> None:
        late = 0.0
        async with place.store() as store, place.store() as other:
            client = Client(store, clock=lambda: boot_time() + late)
            tree = await client.tree(bench.name, seconds=SECONDS)
            await tree.create("/members/a", ephemeral=True)
            first = tree.session._keeping
            late = SECONDS
            await tree.create("/members/b", ephemeral=True)
            assert first is not None
            assert first.done()
            second = await tree.session.owner()
            await tree.create("/members/c", ephemeral=True)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SECONDS):
                    await tree.session.lost.wait()
            assert await tree.session.owner() == second
            await client.close()
            assert await other.get(Kind.SESSION, second.name) is None

    run(place, test)
