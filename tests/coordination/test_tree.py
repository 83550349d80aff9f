"""What a configuration tree promises, at each server."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.coordination.conftest import Place, until
from tests.coordination.trees import SECONDS, Bench, run

from gristmill.coordination.errors import (
    BadName,
    BadValue,
    Conflict,
    CoordinationError,
    Exists,
    Fenced,
    Missing,
    NotEmpty,
)
from gristmill.coordination.lock import Token
from gristmill.coordination.port import Record
from gristmill.coordination.schemas import Schemas
from gristmill.coordination.tree import ConfigTree


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


@pytest.mark.parametrize("wrong", [None, 5, b"/a", ["/a"]])
def test_a_name_that_is_no_text_is_told(place: Place, wrong: Any) -> None:
    async def test(bench: Bench) -> None:
        client, tree = await bench.client(), await bench.tree()
        told = rf"{re.escape(repr(wrong))}: it must be text \(str\), and is of type {type(wrong).__name__}"
        for make in (client.lock, client.election):
            with pytest.raises(BadName, match=f"^lock {told}"):
                make(wrong)
        with pytest.raises(BadName, match=f"^tree {told}"):
            await client.tree(wrong)
        for call in (tree.get, tree.children, tree.walk, tree.watch):
            with pytest.raises(BadName, match=f"^path {told}"):
                call(wrong)
        for change in (tree.create, tree.ensure, tree.delete):
            with pytest.raises(BadName, match=f"^path {told}"):
                await change(wrong)
        with pytest.raises(BadName, match=f"^path {told}"):
            await tree.create(wrong, sequential=True)
        with pytest.raises(BadName, match=f"^path {told}"):
            await tree.set(wrong, "x")
        await client.close()

    run(place, test)


def test_conditions_that_are_none_are_told_whatever_is_there(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        await tree.set("/fenced", "x", token=Token("l", 7))
        wrong: list[dict[str, Any]] = [
            {"token": 7},
            {"token": Token("l", "7")},  # type: ignore[arg-type]
            {"token": Token(None, 7)},  # type: ignore[arg-type]
            {"token": Token("l", True)},
        ]
        for path in ("/fenced", "/new"):
            for one in wrong:
                for done in (tree.set(path, "y", **one), tree.delete(path, **one)):
                    with pytest.raises(
                        BadValue,
                        match=r"lock\.token, or gristmill\.coordination\.Token\(name, int\(\.\.\.\)\)",
                    ):
                        await done
            for version in ("1", 1.0, True):
                for done in (tree.set(path, "y", version=version), tree.delete(path, version=version)):  # type: ignore[arg-type]
                    with pytest.raises(BadValue, match=r"give node\.version, or int\(\.\.\.\)"):
                        await done
        assert [node.text for node in tree.walk()] == ["x"]

    run(place, test)


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


def test_an_older_token_whose_view_lags_behind_deletes_nothing_of_a_subtree(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, later = await bench.tree(), await bench.tree()
        for path in ("/d", "/d/a", "/d/b", "/d/c"):
            await tree.set(path, "x", token=Token("l", 10))
        for path in ("/d/a", "/d/new"):
            await tree._view.stop()
            await later.set(path, "later", token=Token("l", 12))
            with pytest.raises(Fenced, match=f"{path} was written by a later holder"):
                await tree.delete("/d", token=Token("l", 10), recursive=True)
            assert await tree._read("/d/b")
            assert await tree._read("/d/c")
            await later.delete(path, token=Token("l", 12))
        await later.set("/d2", "later", token=Token("l", 12))
        await tree.delete("/d", token=Token("l", 10), recursive=True)
        await until(lambda: [node.path for node in later.walk()] == ["/d2"])

    run(place, test)


def test_an_older_token_that_knows_nothing_below_a_node_deletes_none_of_a_subtree_of_a_later_holder(
    place: Place,
) -> None:
    async def test(bench: Bench) -> None:
        tree, later = await bench.tree(), await bench.tree()
        await tree.set("/d", "x", token=Token("l", 10))
        await tree._view.stop()
        await later.set("/d/new", "later", token=Token("l", 12))
        with pytest.raises(Fenced, match="/d/new was written by a later holder"):
            await tree.delete("/d", token=Token("l", 10), recursive=True)
        assert await tree._read("/d")
        await later.delete("/d/new", token=Token("l", 12))
        await tree.delete("/d", token=Token("l", 10), recursive=True)
        assert await tree._read("/d") is None

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


def test_a_delete_by_an_older_token_before_which_a_later_holder_wrote_is_refused(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, later = await bench.tree(), await bench.tree()
        await tree.set("/a", "0", token=Token("l", 1))
        await until(lambda: later.get("/a") is not None)
        real = tree._store.delete

        async def delete(*args: Any, **named: Any) -> None:
            tree._store.delete = real  # type: ignore[method-assign]
            await later.set("/a", "later", token=Token("l", 3))
            await real(*args, **named)

        tree._store.delete = delete  # type: ignore[method-assign]
        with pytest.raises(Fenced, match="later holder"):
            await tree.delete("/a", token=Token("l", 2))
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


@pytest.mark.e2e
def test_a_namespace_that_is_not_there_is_told(namespace: Callable[[], Awaitable[Any]]) -> None:
    """Also to who sets a value, which makes the node where it is not there."""

    async def make() -> Any:
        store = await namespace()
        store._namespace += "-none"
        return store

    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        for call in (
            tree.set("/a", "1"),
            tree.create("/a", "1"),
            tree.ensure("/a", "1"),
            tree.create("/q/n-", sequential=True),
        ):
            with pytest.raises(Missing, match=r"namespaces .*-none. not found"):
                await asyncio.wait_for(call, 10)

    run(Place(make), test)


def test_a_value_is_set_though_its_node_is_deleted_and_made_all_the_time(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, other = await bench.tree(), await bench.tree()

        async def come_and_go() -> None:
            for n in range(10):
                await other.set("/a", f"theirs {n}")
                with suppress(Missing):
                    await other.delete("/a")

        async def write() -> None:
            for n in range(10):
                assert (await tree.set("/a", f"mine {n}")).text == f"mine {n}"

        await asyncio.wait_for(asyncio.gather(come_and_go(), write()), 20)

    run(place, test)


def test_what_another_deletes_at_the_same_time_is_missing_by_its_path(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, other = await bench.tree(), await bench.tree()
        await tree.set("/a b", "1")
        real = tree._store.delete

        async def delete(*args: Any, **named: Any) -> None:
            await other.delete("/a b")
            await real(*args, **named)

        tree._store.delete = delete  # type: ignore[method-assign]
        with pytest.raises(Missing, match=r"^/a b is not there$"):
            await tree.delete("/a b")

    run(place, test)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "strin"}, "'strin' is not valid"),
        ("abc", "it is a JSON object, not 'abc'"),
        (None, "it is a JSON object, not None"),
        ({"$schema": 5}, r"its \$schema is a URI, not 5"),
        ({"$schema": []}, r"its \$schema is a URI, not \[\]"),
        ({"$schema": "http://[x"}, "Invalid IPv6 URL"),
    ],
)
def test_a_schema_that_is_none_is_told_when_the_tree_is_opened(schema: Any, words: str) -> None:
    with pytest.raises(BadValue, match=rf"the schema of /x\* is none: {words}"):
        Schemas({"/x*": schema})


def test_a_schema_whose_path_is_no_text_is_told() -> None:
    with pytest.raises(BadValue, match="1 has a schema, and is no path: paths are text"):
        Schemas({1: True})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "#/$defs/nope"}, "refers to what is not there .*nothing is fetched"),
        ({"$ref": "#"}, "is nested too deeply"),
        ({"type": "array", "items": {"$ref": "#"}}, "is nested too deeply"),
    ],
)
def test_a_schema_or_value_that_can_not_be_looked_at_is_told(schema: Any, words: str) -> None:
    for value in (b"[" * 400 + b"]" * 400, b"[" * 100_000):
        with pytest.raises(BadValue, match=rf"/x: .*({words}|value is nested too deeply)"):
            Schemas({"/x*": schema}).check("/x", value)


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        ({"multipleOf": 0.01}, b"1" + b"0" * 400, "can't be asked of the value: .*too large"),
        ({"type": "object", "$ref": "#/type/x"}, b"{}", "can't be asked of the value: .*'x'"),
        (True, b"[1e400]", "the value is no JSON, .*1e400 is larger than a number can be"),
        ({"multipleOf": 0.01}, b"-1e400", "the value is no JSON, .*-1e400 is larger than a number can be"),
    ],
)
def test_what_a_schema_can_not_be_asked_of_is_refused(schema: Any, value: bytes, words: str) -> None:
    with pytest.raises(BadValue, match=rf"/x: .*{words}"):
        Schemas({"/x*": schema}).check("/x", value)
    Schemas({"/x*": True}).check("/x", b"[1e300, 1.5, 1e-400]")


def test_a_schema_elsewhere_is_not_fetched() -> None:
    """Where nobody answers, that would stop all that the program has: the loop waited for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/s.json"
        with pytest.raises(BadValue, match=r"/x: the schema of /x refers to what is not there .*s\.json"):
            Schemas({"/x": {"$ref": url}}).check("/x", b"1")
    Schemas({"/x": {"$ref": "https://json-schema.org/draft/2020-12/schema"}}).check("/x", b"{}")


def test_a_value_that_can_not_be_written_is_told(place: Place) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        for wrong in ("a\udce9", {"a": "a\udce9"}, deep, {1, 2}):
            with pytest.raises(BadValue, match=r"^/a: the value is n"):
                await tree.set("/a", wrong)
        node = await tree.set("/a", b"[" * 100_000)
        with pytest.raises(BadValue, match=r"^/a: the value is no JSON"):
            assert node.json
        assert node.value == b"[" * 100_000

    run(place, test)
