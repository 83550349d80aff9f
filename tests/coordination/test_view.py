"""What a program reads of a tree whose server gives other answers than it should for a while."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.coordination.apiserver import ApiServer, Line
from tests.coordination.conftest import PATIENCE, Place, store_at, until
from tests.coordination.trees import Bench, run
from tests.protocol.harness import Server

from gristmill.coordination.aio import Client
from gristmill.coordination.errors import Conflict, Denied, Missing, Refused, Unavailable
from gristmill.coordination.port import Kind, Store
from gristmill.coordination.tree import ConfigTree
from gristmill.coordination.valkey import ValkeyStore


class Refusing:
    """A store whose next watches raise something."""

    def __init__(self, store: Store, *errors: Exception) -> None:
        self._store = store
        self.errors = list(errors)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def watch(self, *args: Any) -> AsyncIterator[Any]:
        if self.errors:
            raise self.errors.pop(0)
        async for change in self._store.watch(*args):
            yield change


@pytest.mark.parametrize(
    "error", [Unavailable, Denied, Missing, Refused, Conflict, ValueError], ids=lambda error: error.__name__
)
def test_a_tree_is_followed_on_whatever_a_watch_was_answered(place: Place, error: type[Exception]) -> None:
    async def test(bench: Bench) -> None:
        other = await bench.tree()
        async with place.store() as store:
            refusing = Refusing(store, error("once"), error("twice"))
            client = Client(refusing)  # type: ignore[arg-type]
            tree = await client.tree(bench.name)
            watch = tree.watch()
            await until(lambda: not refusing.errors)
            made = await other.set("/a", "1")
            await until(lambda: tree.get("/a") == made, 10)
            assert (await anext(watch)).path == "/a"  # type: ignore[union-attr]
            await client.close()

    run(place, test)


def test_a_client_is_closed_in_full_whatever_its_trees_have_run_into(place: Place) -> None:
    async def test(bench: Bench) -> None:
        async with place.store() as store, place.store() as other:
            client = Client(store)
            tree, lock = await client.tree(bench.name), client.lock(bench.name)
            await lock.acquire()
            await tree.create("/a", ephemeral=True)
            owner = await tree.session.owner()
            tree._view._following.cancel()  # type: ignore[union-attr]

            async def fail() -> None:
                raise ValueError("it ended")

            tree._view._following = asyncio.create_task(fail())
            await asyncio.sleep(0)
            await client.close()
            assert await other.get(Kind.SESSION, owner.name) is None
            assert await other.get(Kind.LOCK, bench.name) is None

    run(place, test)


def test_who_waits_or_follows_goes_on_after_a_fail_over(
    own_valkey: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The server becomes a replica, which ends what waits for news (UNBLOCKED), and answers nothing (MASTERDOWN)."""
    caplog.set_level(logging.WARNING, "gristmill.coordination")

    async def whole() -> None:
        async with asyncio.timeout(2 * PATIENCE):
            client, other = (Client(ValkeyStore(own_valkey.url, "n")) for _ in range(2))
            raw = other._store._client  # type: ignore[attr-defined]
            tree, theirs = await client.tree("t"), await other.tree("t")
            held, wanted = other.lock("l"), client.lock("l")
            await held.acquire()
            waiting = asyncio.create_task(wanted.acquire())
            while not [one for one in (await other._store.get(Kind.LOCK, "l")).fields if "waiter" in one]:  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
            await raw.config_set("replica-serve-stale-data", "no")
            await raw.execute_command("REPLICAOF", "127.0.0.1", "1")
            await until(lambda: caplog.records)
            await raw.execute_command("REPLICAOF", "NO", "ONE")
            made = await theirs.set("/a", "1")
            await until(lambda: tree.get("/a") == made, 10)
            await held.release()
            await waiting
            await client.close()
            await other.close()

    asyncio.run(whole())


def test_what_was_read_to_be_compared_is_known_from_then_on(place: Place) -> None:
    """Else who changes a value by its version, and again where it is another, would see the old one for ever."""

    async def test(bench: Bench) -> None:
        tree, other = await bench.tree(), await bench.tree()
        await tree.ensure("/count", 0)
        await until(lambda: not tree._view._ahead)
        await tree._view.stop()
        await other.set("/count", 7)
        for tries in range(2):
            node = await tree.ensure("/count", 0)
            try:
                await tree.set("/count", node.json + 1, version=node.version)
            except Conflict:
                assert tries == 0
        assert (await tree.ensure("/count", 0)).json == 8

    run(place, test)


async def is_told(
    tree: ConfigTree,
    name: str,
    away: Callable[[], Any],
    back: Callable[[], Any],
    log: pytest.LogCaptureFixture,
) -> None:
    """See that who reads learns that a server is away, and that it is back; and that each is logged once, in words."""
    assert tree.stale_since is None
    before = time.monotonic()
    away()
    await until(lambda: tree.stale_since is not None)
    assert tree.stale_since is not None
    assert before - PATIENCE < tree.stale_since < time.monotonic()
    await until(lambda: log.records)
    watched = log.records[0].getMessage()
    assert watched.startswith(
        f"the nodes of tree {name} can't be followed, what is read of them may be old: "
    )
    since = tree.stale_since
    await asyncio.sleep(1.5)  # (it is tried again, and there is nothing new to tell)
    assert (tree.stale_since, len(log.records)) == (since, 1)
    await asyncio.to_thread(back)
    await until(lambda: tree.stale_since is None)
    await until(lambda: len(log.records) > 1)
    assert log.records[1].getMessage().startswith(f"the nodes of tree {name} are followed again, after ")
    assert len(log.records) == 2
    assert (await tree.set("/a", "1")) == tree.get("/a")


def test_who_reads_learns_that_the_server_is_away(
    own_valkey: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gristmill.coordination")

    async def whole() -> None:
        async with asyncio.timeout(2 * PATIENCE), Client(ValkeyStore(own_valkey.url, "n")) as client:
            await is_told(await client.tree("t"), "t", own_valkey.kill, own_valkey.start, caplog)

    asyncio.run(whole())


def test_who_reads_learns_that_the_log_may_not_be_read_any_more(
    own_valkey: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gristmill.coordination")

    async def whole() -> None:
        async with asyncio.timeout(2 * PATIENCE), Client(ValkeyStore(own_valkey.url, "n")) as client:
            with own_valkey.connect() as raw:

                def may(what: str) -> Callable[[], Any]:
                    return lambda: raw.execute_command("ACL", "SETUSER", "default", what)

                await is_told(await client.tree("t"), "t", may("-xread"), may("+xread"), caplog)

    asyncio.run(whole())


def test_watches_that_begin_and_fail_at_once_are_told_once_and_begun_less_and_less_often(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gristmill.coordination")

    class Failing(Refusing):
        """A store whose watches fail when they have begun, while it does not work."""

        works, failed = False, 0

        async def watch(self, *args: Any) -> AsyncIterator[Any]:
            async for change in self._store.watch(*args):
                yield change
                if not self.works:
                    self.failed += 1
                    raise Unavailable("it does not work")

    async def test(bench: Bench) -> None:
        async with place.store() as store:
            failing = Failing(store)
            client = Client(failing)  # type: ignore[arg-type]
            tree = await client.tree(bench.name)

            def back() -> None:
                assert failing.failed < 9
                failing.works = True

            await is_told(tree, bench.name, lambda: None, back, caplog)
            await client.close()

    run(place, test)


@pytest.mark.e2e
def test_who_reads_learns_that_the_api_server_is_away(
    api_server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gristmill.coordination")
    namespace = api_server.make_namespace()

    async def whole() -> None:
        async with asyncio.timeout(2 * PATIENCE), Line(api_server.port) as line:
            config = api_server.config(port=line.port, namespace=namespace)

            def away() -> None:
                line.dead = True
                line.cut()

            def back() -> None:
                line.dead = False

            async with Client(await store_at(config)) as client:
                tree = await client.tree("t")
                first = await tree.set("/first", "1")
                await until(lambda: tree._view.revision >= first.version)
                await is_told(tree, "t", away, back, caplog)

    asyncio.run(whole())


@pytest.mark.e2e
def test_a_connection_that_is_cut_and_made_again_is_no_matter(
    api_server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gristmill.coordination")
    namespace = api_server.make_namespace()

    async def whole() -> None:
        async with asyncio.timeout(2 * PATIENCE), Line(api_server.port) as line:
            config = api_server.config(port=line.port, namespace=namespace)
            other = Client(await store_at(api_server.config(namespace=namespace)))
            async with other, Client(await store_at(config)) as client:
                tree, theirs = await client.tree("t"), await other.tree("t")
                for n in range(3):
                    made = await theirs.set("/a", f"{n}")
                    await until(lambda made=made: tree.get("/a") == made)
                    line.cut()
                assert tree.stale_since is None

    asyncio.run(whole())
    assert not caplog.records
