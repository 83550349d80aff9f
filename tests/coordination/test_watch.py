"""What a watch of a tree tells, at each server: what is there, what happens, and where something was missed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.coordination.conftest import Place, until
from tests.coordination.trees import Bench, run, told
from tests.protocol.harness import Server

from gristmill.coordination.aio import Client
from gristmill.coordination.errors import HistoryGone
from gristmill.coordination.nodes import PATH, Event, EventKind, Resync
from gristmill.coordination.port import Change, Kind, Store
from gristmill.coordination.valkey import ValkeyStore
from gristmill.coordination.watching import Depth


def test_a_watch_tells_what_is_there_and_then_what_happens(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, writer = await bench.tree(), await bench.tree()
        await tree.set("/a", "0")
        watch = tree.watch()
        await until(lambda: writer.get("/a") is not None)
        await writer.set("/a", "1")
        await writer.set("/b/c", "2")
        await writer.delete("/a")
        await writer.set("/a", "3")
        events = [await anext(watch) for _ in range(5)]
        expected = [
            ("created", "/a", b"0"),
            ("changed", "/a", b"1"),
            ("created", "/b/c", b"2"),
            ("deleted", "/a", b"1"),
        ]
        assert told(events) == [*expected, ("created", "/a", b"3")]
        versions = [one.node.version for one in events if isinstance(one, Event)]
        assert versions[:3] == sorted(versions[:3])
        watch.close()
        with pytest.raises(StopAsyncIteration):
            await anext(watch)

    run(place, test)


def test_a_watch_ends_with_its_context(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        await tree.set("/a", "0")
        async with tree.watch() as watch:
            assert told([await anext(watch)]) == [("created", "/a", b"0")]
        assert [event async for event in watch] == []
        assert tree._watches == []

    run(place, test)


def test_a_callback_is_called_with_each_event_whatever_it_raises_and_is_awaited(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        plain, awaited = list[Event | Resync](), list[Event | Resync]()

        def hear(event: Event | Resync) -> None:
            plain.append(event)
            raise KeyError(event)

        async def wait(event: Event | Resync) -> None:
            await asyncio.sleep(0.01)
            awaited.append(event)
            raise asyncio.CancelledError  # (as what it waits for is, and not it)

        async with tree.watch(callback=hear), tree.watch(callback=wait):
            await tree.set("/a", "0")
            await tree.set("/a", "1")
            await tree.delete("/a")
            await until(lambda: len(plain) == len(awaited) == 3)
        expected = [("created", "/a", b"0"), ("changed", "/a", b"1"), ("deleted", "/a", b"1")]
        assert told(plain) == told(awaited) == expected
        await until(lambda: "watch of /" not in [task.get_name() for task in asyncio.all_tasks()])
        await until(lambda: caplog.text.count("the callback of a watch of / failed") == 6)

    run(place, test)


def test_between_two_events_that_wait_other_tasks_have_their_turn(place: Place) -> None:
    """Locks are renewed by such."""

    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        for number in range(20):
            await tree.set(f"/{number}", "0")
        beats, seen = [0], list[int]()

        async def beat() -> None:
            while True:
                beats[0] += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(beat())
        async with tree.watch(callback=lambda event: seen.append(beats[0])):
            await until(lambda: len(seen) == 20)
        task.cancel()
        assert len(set(seen)) == 20

    run(place, test)


def test_a_callback_is_ended_with_its_program(valkey: Server) -> None:
    """It is no failure of the callback, which would be called on."""
    ended: list[str] = []

    async def wait(event: Event | Resync) -> None:
        assert isinstance(event, Event)
        try:
            await asyncio.sleep(5)
        finally:
            ended.append(event.path)

    async def whole() -> None:
        async with Client(ValkeyStore(valkey.url, secrets.token_hex(4))) as client:
            tree = await client.tree("t")
            for path in ("/a", "/b"):
                await tree.set(path, "0")
            await until(lambda: len(tree._view.seen()) == 2)
            tree.watch(callback=wait)
            await asyncio.sleep(0.1)

    asyncio.run(whole())
    assert ended == ["/a"]


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (Depth.NODE, ["/a"]),
        (Depth.CHILDREN, ["/a/b", "/a/c"]),
        (Depth.SUBTREE, ["/a", "/a/b", "/a/b/d", "/a/c"]),
    ],
)
def test_a_watch_looks_at_a_node_its_children_or_all_below(
    place: Place, depth: Depth, expected: list[str]
) -> None:
    async def test(bench: Bench) -> None:
        tree, writer = await bench.tree(), await bench.tree()
        watch = tree.watch("/a", depth, initial=False)
        for path in ("/", "/ab", "/a", "/a/b", "/a/b/d", "/a/c"):
            await writer.set(path, "x")
        assert [(await anext(watch)).path for _ in expected] == expected  # type: ignore[union-attr]
        await until(lambda: tree.get("/a/c") is not None)
        assert not watch._waiting

    run(place, test)


def test_a_watcher_that_does_not_listen_hears_of_a_gap_and_what_came_of_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.coordination.watching.MOST_WAITING", 8)

    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        for path in ("/goes", "/changes", "/again"):
            await tree.set(path, "0")
        await until(lambda: not tree._view._ahead)
        watch = tree.watch()
        heard = [await anext(watch) for _ in range(3)]
        for n in range(1, 8):
            await tree.set("/changes", str(n))
            await tree.set("/new", str(n))
            await tree.set("/for-a-moment", str(n))
            await tree.delete("/for-a-moment")
        await tree.delete("/goes")
        await tree.delete("/again")
        last = await tree.set("/again", "1")
        await until(lambda: tree._view.revision >= last.version)
        assert len(watch._waiting) < 20
        while watch._waiting:
            heard.append(await anext(watch))
        assert any(isinstance(one, Resync) for one in heard)
        state: dict[str, str] = {}
        for one in heard:
            if isinstance(one, Event):
                assert (one.kind == "created") == (one.path not in state)
                state.pop(one.path, None)
                if one.kind != "deleted":
                    state[one.path] = one.node.text
        assert state == {"/changes": "7", "/new": "7", "/again": "1"}

    run(place, test)


def test_what_there_is_may_be_more_than_may_wait(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gristmill.coordination.watching.MOST_WAITING", 5)

    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        last = [await tree.set(f"/{n}", "1") for n in range(8)][-1]
        await until(lambda: tree._view.revision >= last.version)
        watch = tree.watch()
        for n in range(5):
            last = await tree.set(f"/{n}", "2")
        await until(lambda: tree._view.revision >= last.version)
        expected = [("created", f"/{n}", b"1") for n in range(8)]
        expected += [("changed", f"/{n}", b"2") for n in range(5)]
        assert told([await anext(watch) for _ in range(13)]) == expected
        assert not watch._waiting

    run(place, test)


def test_a_view_whose_history_is_gone_tells_so_and_reaches_the_latest_state(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, writer = await bench.tree(), await bench.tree()
        for path in ("/stays", "/changes", "/goes", "/again"):
            await writer.set(path, "1")
        await until(lambda: len(tree.walk()) == 4)
        watch = tree.watch(initial=False)
        await tree._view.stop()
        await writer.set("/changes", "2")
        await writer.delete("/goes")
        await writer.delete("/again")
        await writer.set("/again", "2")
        await writer.set("/new", "2")

        real, calls = tree._store.watch, []

        def gone(scope: Any, revision: int) -> Any:
            calls.append(revision)
            if len(calls) > 1:
                return real(scope, revision)

            async def refuse() -> Any:
                raise HistoryGone("compacted")
                yield

            return refuse()

        tree._store.watch = gone  # type: ignore[method-assign]
        tree._view._following = asyncio.create_task(tree._view._follow())
        await until(lambda: tree.get("/new") is not None)
        await writer.set("/new", "3")
        events = [await anext(watch) for _ in range(7)]
        assert isinstance(events[0], Resync)
        assert sorted(told(events[1:3])) == [("deleted", "/again", b"1"), ("deleted", "/goes", b"1")]
        assert told(events[3:]) == [
            ("changed", "/changes", b"2"),
            ("created", "/again", b"2"),
            ("created", "/new", b"2"),
            ("changed", "/new", b"3"),
        ]

    run(place, test)


def test_a_node_whose_path_is_edited_is_gone_until_it_is_put_right(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        await tree.set("/db", "mine")
        await until(lambda: not tree._view._ahead)
        watch = tree.watch("/db", initial=False)
        for path, kind in (("/other", EventKind.DELETED), ("/db", EventKind.CREATED)):
            changed = await tree._store.update(Kind.NODE, f"{bench.name}.db", {PATH: path})
            event = await anext(watch)
            assert isinstance(event, Event)
            assert (event.kind, event.path, event.node.text) == (kind, "/db", "mine")
            assert event.node.version == changed.revision
        await tree.set("/db", "yours")
        assert (await anext(watch)).kind is EventKind.CHANGED  # type: ignore[union-attr]

    run(place, test)


def test_what_is_older_than_what_is_known_is_not_taken(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        await tree.set("/a", "1")
        older = await tree._read("/a")
        last = await tree.set("/a", "2")
        await until(lambda: tree._view.revision >= last.version)
        watch = tree.watch(initial=False)
        assert older is not None
        tree._view._take(Change(last.version, older))
        assert tree.get("/a") == last
        assert not watch._waiting

    run(place, test)


def test_a_view_of_a_server_that_has_lost_its_last_second_shows_what_that_has(valkey: Server) -> None:
    namespace = secrets.token_hex(4)

    async def make() -> Store:
        return ValkeyStore(valkey.url, namespace)

    async def test(bench: Bench) -> None:
        tree, other = await bench.tree(), await bench.tree()
        for path in ("/a", "/b"):
            await tree.set(path, "kept")
        await until(lambda: not tree._view._ahead)
        with valkey.connect() as raw:
            saved = {key: raw.dump(key) for key in raw.keys(f"gristmill:coordination:{{{namespace}}}:*")}
            await other.set("/a", "lost")
            await until(lambda: tree.get("/a").text == "lost")  # type: ignore[union-attr]
            watch = tree.watch(initial=False)
            await tree._view.stop()
            await tree.set("/c", "lost")
            await tree.delete("/b")
            for key, dump in saved.items():
                raw.restore(key, 0, dump, replace=True)
        tree._view._following = asyncio.create_task(tree._view._follow())
        assert isinstance(await anext(watch), Resync)
        assert told([await anext(watch)]) == [("changed", "/a", b"kept")]
        assert [(node.path, node.text) for node in tree.walk()] == [("/a", "kept"), ("/b", "kept")]

    run(Place(make), test)


def test_a_deletion_that_is_seen_before_it_is_answered_leaves_nothing(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, other = await bench.tree(), await bench.tree()
        await tree.set("/a", "1")
        await until(lambda: not tree._view._ahead)
        real = tree._store.delete

        async def delete(*args: Any, **named: Any) -> None:
            await real(*args, **named)
            await until(lambda: not tree._view.seen())

        tree._store.delete = delete  # type: ignore[method-assign]
        await tree.delete("/a")
        assert not tree._view._ahead
        tree._store.delete = real  # type: ignore[method-assign]
        await tree._view.stop()
        await other.set("/b", "1")
        await tree.delete("/b")
        assert tree._view._ahead
        tree._view._following = asyncio.create_task(tree._view._follow())
        await until(lambda: not tree._view._ahead)
        assert tree.walk() == []

    run(place, test)


def test_who_reads_a_log_that_was_trimmed_meanwhile_is_told_of_the_gap(valkey: Server) -> None:
    """It lags behind: what it was to read next is not there any more, and what comes after that is."""
    lag = asyncio.Event()

    class Lagging(ValkeyStore):
        async def watch(self, *args: Any) -> AsyncIterator[Change]:
            async for change in super().watch(*args):
                yield change
                await lag.wait()

    async def whole() -> None:
        store = Lagging(valkey.url, secrets.token_hex(4))
        async with asyncio.timeout(60), Client(store) as client:
            tree = await client.tree("t")
            watch = tree.watch()
            for n in range(4):
                await tree.set("/a", f"{n}")
            assert await store._client.xtrim(store._log, maxlen=1, approximate=False) == 3
            lag.set()
            events = [await anext(watch), await anext(watch)]
            assert isinstance(events[0], Resync)
            assert told(events) == [("created", "/a", b"3")]

    asyncio.run(whole())
