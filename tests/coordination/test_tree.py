"""What a configuration tree promises, at each server."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.coordination.conftest import PATIENCE, Place, until
from tests.protocol.harness import Server

from gristmill.coordination.aio import Client
from gristmill.coordination.errors import (
    BadName,
    BadValue,
    Closed,
    Conflict,
    CoordinationError,
    Exists,
    Fenced,
    HistoryGone,
    Missing,
    NotEmpty,
    Refused,
)
from gristmill.coordination.lock import Token
from gristmill.coordination.nodes import COUNTER, FENCE_NUMBER, PATH, Event, EventKind, Resync
from gristmill.coordination.port import Change, Kind, Record, Store
from gristmill.coordination.tree import ConfigTree
from gristmill.coordination.valkey import ValkeyStore
from gristmill.coordination.watching import Depth

#: seconds of a session in these tests
SECONDS = 2


class Bench:
    """One tree, as many clients have it."""

    def __init__(self, place: Place, clients: list[Client], stack: Any) -> None:
        self._place = place
        self._clients = clients
        self._stack = stack
        self.name = f"t-{secrets.token_hex(4)}"

    async def client(self) -> Client:
        return Client(await self._stack.enter_async_context(self._place.store()))

    async def tree(self, **more: Any) -> ConfigTree:
        client = await self.client()
        self._clients.append(client)
        return await client.tree(self.name, seconds=SECONDS, **more)


def run(place: Place, test: Callable[[Bench], Awaitable[None]]) -> None:
    from contextlib import AsyncExitStack

    async def whole() -> None:
        async with asyncio.timeout(60), AsyncExitStack() as stack:
            clients: list[Client] = []
            await test(Bench(place, clients, stack))
            for client in clients:
                await client.close()

    asyncio.run(whole())


def told(events: list[Event | Resync]) -> list[tuple[str, str, bytes]]:
    return [(str(one.kind), one.path, one.node.value) for one in events if isinstance(one, Event)]


def test_a_node_is_made_read_changed_and_deleted(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, other = await bench.tree(), await bench.tree()
        made = await tree.create("/db/host", "a.example")
        assert tree.get("/db/host") == made
        assert (made.text, made.name, made.ephemeral) == ("a.example", "host", False)
        await until(lambda: other.get("/db/host") == made)
        changed = await other.set("/db/host", {"port": 5, "name": "ü"})
        assert changed.version > made.version
        assert changed.json == {"port": 5, "name": "ü"}
        assert other.get("/db/host") == changed
        await until(lambda: tree.get("/db/host") == changed)
        await tree.delete("/db/host")
        assert tree.get("/db/host") is None
        await until(lambda: other.get("/db/host") is None)

    run(place, test)


def test_what_was_written_here_is_read_here_at_once(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        for n in range(10):
            assert (await tree.set("/a", str(n))) == tree.get("/a")
            assert tree.children() == ["a"]
        await tree.delete("/a")
        assert tree.get("/a") is None
        assert tree.walk() == []
        again = await tree.create("/a", b"again")
        assert tree.get("/a") == again
        await until(lambda: not tree._view._ahead)
        assert tree.get("/a") == again

    run(place, test)


def test_a_version_is_expected(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, other = await bench.tree(), await bench.tree()
        first = await tree.set("/a", "1", version=0)
        with pytest.raises(Conflict, match=f"/a is at version {first.version}, and not at version 0"):
            await other.set("/a", "2", version=0)
        second = await other.set("/a", "2", version=first.version)
        with pytest.raises(Conflict, match="decide again"):
            await tree.set("/a", "3", version=first.version)
        with pytest.raises(Conflict, match="decide again"):
            await tree.delete("/a", version=first.version)
        await tree.delete("/a", version=second.version)
        with pytest.raises(Conflict, match="/a is not there, and not at version"):
            await other.set("/a", "3", version=second.version)
        with pytest.raises(Missing, match="/a is not there"):
            await other.delete("/a")

    run(place, test)


def test_many_count_in_one_node_by_its_version_and_no_step_is_lost(place: Place) -> None:
    async def test(bench: Bench) -> None:
        trees = [await bench.tree() for _ in range(4)]
        await trees[0].set("/n", "0")

        async def count(tree: ConfigTree) -> None:
            for _ in range(5):
                while True:
                    node = tree.get("/n")
                    if node is None:
                        await asyncio.sleep(0.01)
                        continue
                    try:
                        await tree.set("/n", str(int(node.text) + 1), version=node.version)
                        break
                    except Conflict:
                        await asyncio.sleep(0.005)

        await asyncio.gather(*(count(tree) for tree in trees))
        await until(lambda: all((tree.get("/n") or 0) and tree.get("/n").text == "20" for tree in trees))  # type: ignore[union-attr]

    run(place, test)


def test_a_node_is_made_once_and_ensured_as_often_as_one_likes(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, other = await bench.tree(), await bench.tree()
        made = await tree.create("/a", "x")
        with pytest.raises(Exists, match="/a is there already"):
            await other.create("/a", "y")
        assert await other.ensure("/a", "y") == made
        both = await asyncio.gather(tree.ensure("/b", "1"), other.ensure("/b", "2"))
        assert both[0].version == both[1].version

    run(place, test)


def test_children_and_subtrees_by_any_path(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, other = await bench.tree(), await bench.tree()
        paths = [
            "/",
            "/a",
            "/a/b",
            "/a.b",
            "/a-b",
            "/A",
            "/a/ü ß",
            "/a/b/c/d",
            "/x/y",
            "/a--b",
            "/" + "w" * 300,
        ]
        for path in paths:
            await tree.set(path, path)
        await until(lambda: len(other.walk()) == len(paths))
        for one in (tree, other):
            assert [node.path for node in one.walk()] == sorted(paths)
            assert all(node.text == node.path for node in one.walk())
            assert one.children("/a") == ["b", "ü ß"]
            assert one.children() == sorted(["a", "a.b", "a-b", "A", "x", "a--b", "w" * 300])
            assert one.children("/a/b") == ["c"]
            assert one.children("/nothing") == []
            assert [node.path for node in one.walk("/a")] == ["/a", "/a/b", "/a/b/c/d", "/a/ü ß"]
        with pytest.raises(NotEmpty, match="/a has 3 nodes below it"):
            await tree.delete("/a")
        await tree.delete("/a", recursive=True)
        assert tree.children("/a") == []
        assert tree.get("/a.b") is not None

    run(place, test)


def test_sequential_nodes_have_rising_numbers_also_after_deletion(place: Place) -> None:
    async def test(bench: Bench) -> None:
        trees = [await bench.tree() for _ in range(3)]
        made = await asyncio.gather(
            *(tree.create("/q/item-", str(n), sequential=True) for n, tree in enumerate(trees * 4))
        )
        assert sorted(node.path for node in made) == [f"/q/item-{n:010d}" for n in range(1, 13)]
        await until(lambda: len(trees[0].children("/q")) == 12)
        await trees[0].delete("/q/item-0000000012")
        assert (await trees[1].create("/q/item-", sequential=True)).path == "/q/item-0000000013"

    run(place, test)


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


def test_a_token_that_is_older_than_one_that_has_written_is_refused(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, other = await bench.tree(), await bench.tree()
        await tree.set("/a", "1", token=Token("l", 10))
        await tree.set("/a", "2", token=Token("l", 10))
        await other.set("/a", "3", token=Token("l", 12))
        with pytest.raises(Fenced, match="written by a later holder of lock l"):
            await tree.set("/a", "4", token=Token("l", 11))
        with pytest.raises(Fenced, match="later holder"):
            await tree.delete("/a", token=Token("l", 11))
        with pytest.raises(Fenced, match="holders of lock l, and the token is of lock m"):
            await tree.set("/a", "4", token=Token("m", 99))
        await until(lambda: tree.get("/a").text == "3")  # type: ignore[union-attr]
        await tree.set("/a", "4")
        with pytest.raises(Fenced):
            await tree.set("/a", "5", token=Token("l", 11))
        await tree.delete("/a", token=Token("l", 12))

    run(place, test)


def test_a_value_that_is_not_as_its_schema_says_is_refused_before_it_is_written(place: Place) -> None:
    schema = {"type": "object", "properties": {"port": {"type": "integer"}}, "required": ["port"]}

    async def test(bench: Bench) -> None:
        tree = await bench.tree(schemas={"/db/*": schema})
        await tree.set("/db/a", {"port": 1})
        with pytest.raises(BadValue, match=r"/db/a\['port'\]: 'x' is not of type 'integer'"):
            await tree.set("/db/a", {"port": "x"})
        with pytest.raises(BadValue, match="no JSON"):
            await tree.create("/db/b", "text")
        with pytest.raises(BadValue, match="'port' is a required property"):
            await tree.ensure("/db/b", {})
        await tree.set("/other", "text")
        assert tree.get("/db/a").json == {"port": 1}  # type: ignore[union-attr]

    run(place, test)


@pytest.mark.parametrize(
    "path", ["", "a", "a/b", "/a/", "//", "/a//b", "/a/./b", "/..", "/a\nb", "/a\x00", "/" + "ü" * 600]
)
def test_a_wrong_path_is_told(place: Place, path: str) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        for call in (tree.get, tree.children, tree.walk, tree.watch):
            with pytest.raises(BadName, match=r"^path "):
                call(path)
        for change in (tree.create, tree.ensure, tree.delete):
            with pytest.raises(BadName, match=r"^path "):
                await change(path)
        with pytest.raises(BadName, match=r"^path "):
            await tree.set(path, "x")

    run(place, test)


def test_wrong_values_are_told(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        for value in (object(), {1, 2}, float("nan"), {"a": float("inf")}):
            with pytest.raises(BadValue, match="/a: the value is neither bytes nor text"):
                await tree.set("/a", value)
        node = await tree.set("/a", b"\xff")
        with pytest.raises(BadValue, match=r"/a: the value is no text .*use \.value"):
            _ = node.text
        with pytest.raises(BadValue, match="/a: the value is no JSON"):
            _ = node.json

    run(place, test)


@pytest.mark.parametrize("labelled", [False, True])
def test_what_has_a_nodes_name_and_is_none_is_neither_written_nor_deleted(
    place: Place, labelled: bool
) -> None:
    async def test(bench: Bench) -> None:
        client = await bench.client()
        bench._clients.append(client)
        name = f"{bench.name}.db"
        group, fields = (bench.name, {"path": "/other"}) if labelled else ("", {})
        theirs = await client._store.create(Record(Kind.NODE, name, group, fields, b"theirs"))
        tree = await client.tree(bench.name)
        for call in (
            lambda: tree.set("/db", "mine"),
            lambda: tree.set("/db", "mine", version=theirs.revision),
            lambda: tree.create("/db"),
            lambda: tree.ensure("/db"),
            lambda: tree.create("/db/n-", sequential=True),
            lambda: tree.delete("/db"),
        ):
            with pytest.raises(Refused, match=f"ConfigMap {name} has the name of this node"):
                await call()
        assert await client._store.get(Kind.NODE, name) == theirs
        assert tree.get("/db") is None

    run(place, test)


def test_a_node_that_became_something_else_a_moment_ago_is_not_written(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        await tree.set("/db", "mine")
        await until(lambda: not tree._view._ahead)
        await tree._view.stop()
        name = f"{bench.name}.db"
        await tree._store.delete(Kind.NODE, name)
        theirs = await tree._store.create(Record(Kind.NODE, name, value=b"theirs"))
        with pytest.raises(Refused, match="is none of tree"):
            await tree.set("/db", "mine")
        with pytest.raises(Refused, match="is none of tree"):
            await tree.create("/db/n-", sequential=True)
        assert await tree._store.get(Kind.NODE, name) == theirs

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


@pytest.mark.parametrize("field", [COUNTER, FENCE_NUMBER])
def test_a_number_that_was_edited_is_told_of(place: Place, field: str) -> None:
    async def test(bench: Bench) -> None:
        client = await bench.client()
        tree = await client.tree(bench.name)
        lock = client.lock("l")
        await lock.acquire()
        await tree.create("/q/n-", sequential=True)
        await tree.set("/q", "1", token=lock.token)
        changed = await tree._store.update(Kind.NODE, f"{bench.name}.q", {field: "many"})
        await until(lambda: tree._view.revision >= changed.revision)
        with pytest.raises(Refused, match=f"/q: its annotation {field} is 'many' and must be a number"):
            await (
                tree.create("/q/n-", sequential=True)
                if field == COUNTER
                else tree.set("/q", "2", token=lock.token)
            )

    run(place, test)


@pytest.mark.e2e
def test_a_node_keeps_the_other_keys_of_its_config_map(namespace: Callable[[], Awaitable[Any]]) -> None:
    """One that was made by hand, whatever it has: a value is text or not, here or there, or not yet."""
    text, binary = {"value": "t"}, {"value": "/w=="}
    shapes: list[dict[str, Any]] = [
        {},
        {"data": {"a": "b"}},
        {"data": {"a": "b", **text}},
        {"data": {"a": "b"}, "binaryData": binary},
        {"data": text, "binaryData": {"c": "/g=="}},
        {"binaryData": {"c": "/g==", **binary}},
    ]

    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        store: Any = tree._store
        path = store._path(Kind.NODE)
        for number, shape in enumerate(shapes):
            name = f"{bench.name}.n{number}"
            labels = {"kind": "node", "tree": bench.name}
            metadata = {
                "name": name,
                "labels": {f"coordination.gristmill.dev/{key}": one for key, one in labels.items()},
                "annotations": {"coordination.gristmill.dev/path": f"/n{number}"},
            }
            await store._call("POST", path, {"metadata": metadata, **shape})
            await until(lambda number=number: tree.get(f"/n{number}") is not None)
            others = _others(shape)
            for value in (b"text", b"\xff", b"\xfe", b"", b"more"):
                assert (await tree.set(f"/n{number}", value)).value == value
                found = await store._call("GET", f"{path}/{name}")
                assert _others(found) == others
                kept = [part for part in ("data", "binaryData") if "value" in (found.get(part) or {})]
                assert kept == ["binaryData" if value in (b"\xff", b"\xfe") else "data"]

    run(Place(namespace), test)


def _others(found: dict[str, Any]) -> dict[str, str]:
    parts = [found.get(part) or {} for part in ("data", "binaryData")]
    return {key: text for part in parts for key, text in part.items() if key != "value"}


def test_who_may_not_delete_a_node_deletes_nothing_below_it(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        old, new = Token("l", 10), Token("l", 12)
        for path in ("/d", "/d/a", "/d/b", "/e/a", "/e/b", "/e/c"):
            await tree.set(path, "x", token=new if path != "/e/c" else None)
        for top in ("/d", "/e"):
            with pytest.raises(Fenced, match="later holder"):
                await tree.delete(top, token=old, recursive=True)
        version = tree.get("/d").version  # type: ignore[union-attr]
        with pytest.raises(Conflict, match="/d is at version"):
            await tree.delete("/d", version=version - 1, recursive=True)
        with pytest.raises(Conflict, match="/e is not there, and not at version"):
            await tree.delete("/e", version=version, recursive=True)
        assert [node.path for node in tree.walk()] == ["/d", "/d/a", "/d/b", "/e/a", "/e/b", "/e/c"]
        await tree.delete("/d", version=version, token=new, recursive=True)
        await tree.delete("/e", token=new, recursive=True)
        assert tree.walk() == []

    run(place, test)


def test_a_later_holder_that_writes_while_a_subtree_is_deleted_keeps_what_it_wrote(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, later = await bench.tree(), await bench.tree()
        for path in ("/d", "/d/a", "/d/b"):
            await tree.set(path, "x")
        await until(lambda: len(later.walk()) == 3)
        real = tree._store.delete

        async def delete(*args: Any, **named: Any) -> None:
            await real(*args, **named)
            await later.set("/d/a", "later", token=Token("l", 12))

        tree._store.delete = delete  # type: ignore[method-assign]
        with pytest.raises(Fenced, match="later holder"):
            await tree.delete("/d", token=Token("l", 10), recursive=True)
        assert (await later._read("/d/a")).value == b"later"  # type: ignore[union-attr]

    run(place, test)


def test_an_older_token_that_was_looked_at_before_a_later_holder_wrote_is_refused(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, later = await bench.tree(), await bench.tree()
        await tree.set("/a", "0", token=Token("l", 1))
        await until(lambda: later.get("/a") is not None)
        real = tree._store.update

        async def update(*args: Any, **named: Any) -> Record:
            tree._store.update = real  # type: ignore[method-assign]
            await later.set("/a", "later", token=Token("l", 3))
            return await real(*args, **named)

        tree._store.update = update  # type: ignore[method-assign]
        with pytest.raises(Fenced, match="later holder"):
            await tree.set("/a", "older", token=Token("l", 2))
        assert (await later._read("/a")).value == b"later"  # type: ignore[union-attr]

    run(place, test)


def test_paths_of_the_same_letters_are_nodes_of_their_own(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        paths = ["/A b", "/a B", "/a b", "/a/b ", "/ä", "/ö"]
        for path in paths:
            await tree.create(path, path)
        assert [node.text for node in tree.walk()] == sorted(paths)

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


def test_a_tree_is_one_of_a_client_with_the_seconds_and_schemas_of_the_first(place: Place) -> None:
    schemas = {"/n": {"type": "integer"}}

    async def test(bench: Bench) -> None:
        client = await bench.client()
        first, second = await asyncio.gather(
            client.tree("a", schemas=schemas, seconds=SECONDS), client.tree("a")
        )
        assert first is second
        assert await client.tree("a", schemas=dict(schemas), seconds=SECONDS) is first
        for others in ({"schemas": {}}, {"seconds": SECONDS + 1}):
            with pytest.raises(CoordinationError, match="tree a is open with other seconds or schemas"):
                await client.tree("a", **others)  # type: ignore[arg-type]
        await client.close()

    run(place, test)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_python_alone_reads_as_a_number_is_none(place: Place, word: str) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree(schemas={"/n": {"type": "number"}})
        with pytest.raises(BadValue, match="/n: the value is no JSON"):
            await tree.set("/n", word)

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
