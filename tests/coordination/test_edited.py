"""What people make of a tree by hand, and what a program is told that would write over it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.coordination.conftest import Place, until
from tests.coordination.trees import Bench, run

from gristmill.coordination.errors import Refused
from gristmill.coordination.nodes import COUNTER, FENCE_NUMBER
from gristmill.coordination.port import Kind, Record


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
