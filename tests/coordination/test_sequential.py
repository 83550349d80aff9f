"""Nodes that are given a number, at each server."""

from __future__ import annotations

import asyncio

import pytest
from tests.coordination.conftest import Place, until
from tests.coordination.trees import Bench, run

from gristmill.coordination.errors import BadName, Refused
from gristmill.coordination.names import node_name
from gristmill.coordination.port import Kind


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


def test_a_sequence_goes_on_after_nodes_that_were_set_as_by_an_import(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, other = await bench.tree(), await bench.tree()
        for path in (
            "/q/n-0000000003",
            "/q/m-0000000007",
            "/q/n-000000008",
            "/q/sub/n-0000000020",
            "/r-0000000030",
        ):
            await tree.set(path, "old")
        await until(lambda: len(other.walk()) == 5)
        made = [(await one.create("/q/n-", "new", sequential=True)).path for one in (other, tree)]
        assert made == ["/q/n-0000000008", "/q/n-0000000009"]

    run(place, test)


def test_a_sequence_goes_on_where_its_parent_alone_was_deleted(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        for _ in range(3):
            await tree.create("/q/n-", sequential=True)
        await tree._store.delete(Kind.NODE, node_name(bench.name, "/q"))
        await until(lambda: tree.get("/q") is None)
        assert (await tree.create("/q/n-", sequential=True)).path == "/q/n-0000000004"

    run(place, test)


def test_a_number_that_is_taken_and_not_known_of_is_passed_over(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree, other = await bench.tree(), await bench.tree()
        await tree._view.stop()
        for number in (1, 2):
            await other.set(f"/q/n-{number:010d}", "theirs")
        made = await asyncio.wait_for(tree.create("/q/n-", "mine", sequential=True), 10)
        assert (made.path, made.text) == ("/q/n-0000000003", "mine")
        await until(lambda: [node.text for node in other.walk("/q")] == ["", "theirs", "theirs", "mine"])

    run(place, test)


def test_a_sequence_goes_on_where_its_parent_was_deleted_and_that_is_not_known(place: Place) -> None:
    """Its own watch stands still, so its view has the parent that another has deleted."""

    async def test(bench: Bench) -> None:
        tree, other = await bench.tree(), await bench.tree()
        made = await tree.create("/q/n-", sequential=True)
        await until(lambda: tree._view.revision >= made.version and other.get(made.path))
        await tree._view.stop()
        await other.delete("/q", recursive=True)
        for number in (2, 3):
            made = await asyncio.wait_for(tree.create("/q/n-", sequential=True), 10)
            assert made.path == f"/q/n-{number:010d}"

    run(place, test)


def test_a_number_after_another_digit_is_not_given_again(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        for number in (1, 2):
            assert (await tree.create("/q/item5", sequential=True)).path == f"/q/item5{number:010d}"
        await tree.delete("/q/item50000000001")
        await tree._store.delete(Kind.NODE, node_name(bench.name, "/q"))
        await until(lambda: tree.get("/q") is None)
        assert (await tree.create("/q/item5", sequential=True)).path == "/q/item50000000003"
        assert (await tree.create("/q/n-", sequential=True)).path == "/q/n-0000000004"

    run(place, test)


def test_no_number_has_more_digits_than_sort(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        await tree.set("/q/n-9999999998", "")
        assert (await tree.create("/q/n-", sequential=True)).path == "/q/n-9999999999"
        with pytest.raises(Refused, match="/q: there is no number of 10 digits any more"):
            await tree.create("/q/n-", sequential=True)
        assert tree.children("/q") == ["n-9999999998", "n-9999999999"]

    run(place, test)


def test_a_path_that_is_too_long_with_its_number_is_refused_before_anything_is_made(place: Place) -> None:
    async def test(bench: Bench) -> None:
        tree = await bench.tree()
        with pytest.raises(BadName, match="it has 1025 bytes, and may have 1024"):
            await tree.create("/q/" + "a" * 1012, sequential=True)
        assert tree.children() == []
        made = await tree.create("/q/" + "a" * 1011, sequential=True)
        assert tree.get(made.path) == made

    run(place, test)
