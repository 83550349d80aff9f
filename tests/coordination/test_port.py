"""What `port` promises of a server of records, asked of each adapter."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from tests.coordination.conftest import Place
from tests.protocol.harness import Server

from gristmill.coordination import valkey as adapter
from gristmill.coordination.errors import Conflict, Exists, HistoryGone, Missing, Refused, Unavailable
from gristmill.coordination.port import (
    ACQUIRED,
    HOLDER,
    MOST_BYTES,
    RENEWED,
    SECONDS,
    TRANSITIONS,
    Change,
    Kind,
    Owner,
    Record,
    Scope,
    Store,
)
from gristmill.coordination.valkey import ValkeyStore

LEASE = {
    HOLDER: "me",
    SECONDS: "15",
    ACQUIRED: "2026-11-25T10:00:00.000001Z",
    RENEWED: "2026-11-25T10:00:00.000002Z",
    TRANSITIONS: "3",
    "waiter-a_b.c": "1",
}


def run(place: Place, test: Callable[[Store], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with place.store() as store, asyncio.timeout(60):
            await test(store)

    asyncio.run(whole())


def name(prefix: str = "r") -> str:
    return f"{prefix}-{secrets.token_hex(4)}"


async def _at(server: Server) -> Store:
    return ValkeyStore(server.url, name())


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("value", [b"", b"text \xc3\xa4\n\x00", b"\xff\x00\xfe"])
def test_a_record_is_read_as_it_was_made(place: Place, kind: Kind, value: bytes) -> None:
    async def test(store: Store) -> None:
        fields = {"path": "/a/b ü", "empty": ""} if kind is Kind.NODE else LEASE
        record = Record(kind, name(), "tree", fields, value if kind is Kind.NODE else b"")
        made = await store.create(record)
        assert replace(made, revision=0, uid="") == record
        assert made.revision > 0
        assert made.uid
        assert await store.get(kind, record.name) == made

    run(place, test)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("letter", ["x", "ü", "\U0001f37a", "\n", '"', "\x01", b"\xff"], ids=ascii)
def test_a_value_may_be_as_large_as_is_said_whatever_it_is(place: Place, letter: str | bytes) -> None:
    one = letter.encode() if isinstance(letter, str) else letter
    value = one * (MOST_BYTES // len(one))

    async def test(store: Store) -> None:
        made = await store.create(Record(Kind.NODE, name(), "t", {"path": "/a"}, value))
        assert made.value == value
        changed = await store.update(Kind.NODE, made.name, {"more": "x"}, value=one + value[len(one) :])
        assert (await store.get(Kind.NODE, made.name)) == changed
        assert changed.value == value
        await store.delete(Kind.NODE, made.name)

    run(place, test)


def test_a_name_is_taken_once_and_free_again_after_deletion(place: Place) -> None:
    async def test(store: Store) -> None:
        record = Record(Kind.LOCK, name(), fields=LEASE)
        first = await store.create(record)
        with pytest.raises(Exists):
            await store.create(record)
        await store.delete(Kind.LOCK, record.name)
        assert await store.get(Kind.LOCK, record.name) is None
        with pytest.raises(Missing):
            await store.delete(Kind.LOCK, record.name)
        with pytest.raises(Missing):
            await store.update(Kind.LOCK, record.name, {"a": "b"})
        second = await store.create(record)
        assert second.revision > first.revision
        assert second.uid != first.uid

    run(place, test)


def test_fields_are_changed_and_taken_away_and_the_others_stay(place: Place) -> None:
    async def test(store: Store) -> None:
        made = await store.create(Record(Kind.LOCK, name(), fields=LEASE))
        changes = {HOLDER: None, SECONDS: "7", "waiter-a_b.c": None, "waiter-d": "2", "never": None}
        changed = await store.update(Kind.LOCK, made.name, changes)
        expected = {**LEASE, SECONDS: "7", "waiter-d": "2"}
        del expected[HOLDER], expected["waiter-a_b.c"]
        assert changed.fields == expected
        assert changed.revision > made.revision
        assert changed.uid == made.uid
        assert await store.get(Kind.LOCK, made.name) == changed

    run(place, test)


def test_a_value_is_changed_alone_and_with_fields(place: Place) -> None:
    async def test(store: Store) -> None:
        made = await store.create(Record(Kind.NODE, name(), "t", {"path": "/a"}, b"one"))
        for value in (b"two", b"\xff", b"", b"three"):
            changed = await store.update(Kind.NODE, made.name, {}, value=value)
            assert (changed.value, changed.fields) == (value, {"path": "/a"})
        changed = await store.update(Kind.NODE, made.name, {"more": "x"})
        assert (changed.value, changed.fields) == (b"three", {"path": "/a", "more": "x"})

    run(place, test)


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({}, True),
        ({HOLDER: "me"}, True),
        ({HOLDER: "me", RENEWED: LEASE[RENEWED], SECONDS: "15", "waiter-a_b.c": "1"}, True),
        ({"waiter-b": None}, True),
        ({HOLDER: "you"}, False),
        ({HOLDER: None}, False),
        ({"waiter-a_b.c": None}, False),
        ({"waiter-b": "1"}, False),
        ({HOLDER: "me", SECONDS: "14"}, False),
    ],
)
def test_a_change_is_made_where_fields_are_as_expected(
    place: Place, where: dict[str, str | None], holds: bool
) -> None:
    async def test(store: Store) -> None:
        made = await store.create(Record(Kind.LOCK, name(), fields=LEASE))
        if holds:
            assert (await store.update(Kind.LOCK, made.name, {"a": "b"}, where=where)).fields["a"] == "b"
            return
        with pytest.raises(Conflict):
            await store.update(Kind.LOCK, made.name, {"a": "b"}, where=where)
        assert await store.get(Kind.LOCK, made.name) == made

    run(place, test)


def test_a_holder_that_is_none_is_expected_as_none(place: Place) -> None:
    async def test(store: Store) -> None:
        made = await store.create(Record(Kind.LOCK, name(), fields={**LEASE}))
        await store.update(Kind.LOCK, made.name, {HOLDER: None})
        taken = await store.update(Kind.LOCK, made.name, {HOLDER: "you"}, where={HOLDER: None})
        assert taken.fields[HOLDER] == "you"

    run(place, test)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_change_and_a_deletion_by_revision_and_uid(place: Place, kind: Kind) -> None:
    async def test(store: Store) -> None:
        made = await store.create(Record(kind, name(), "t", {"a": "1"}))
        changed = await store.update(kind, made.name, {"a": "2"}, revision=made.revision)
        with pytest.raises(Conflict):
            await store.update(kind, made.name, {"a": "3"}, revision=made.revision)
        with pytest.raises(Conflict):
            await store.delete(kind, made.name, revision=made.revision)
        with pytest.raises(Conflict):
            await store.delete(kind, made.name, uid="another")
        assert await store.get(kind, made.name) == changed
        await store.delete(kind, made.name, revision=changed.revision, uid=made.uid)
        assert await store.get(kind, made.name) is None

    run(place, test)


def test_what_a_session_owns_goes_with_it(place: Place) -> None:
    async def test(store: Store) -> None:
        session = await store.create(Record(Kind.SESSION, name("s"), "t", LEASE))
        owner = Owner(session.name, session.uid)
        mine = await store.create(Record(Kind.NODE, name(), "t", {"path": "/a"}, owner=owner))
        other = await store.create(Record(Kind.NODE, name(), "t", {"path": "/b"}))
        assert mine.owner == owner
        await store.delete(Kind.SESSION, session.name)
        while await store.get(Kind.NODE, mine.name):
            await asyncio.sleep(0.05)
        assert await store.get(Kind.NODE, other.name) == other

    run(place, test)


@pytest.mark.parametrize("again", [False, True])
def test_what_a_session_that_is_gone_is_to_own_is_refused_or_goes_soon(place: Place, again: bool) -> None:
    """Also where there is another session of its name."""

    async def test(store: Store) -> None:
        session = Record(Kind.SESSION, name("s"), "t", LEASE)
        owner = Owner(session.name, (await store.create(session)).uid)
        await store.delete(Kind.SESSION, session.name)
        if again:
            await store.create(session)
        record = Record(Kind.NODE, name(), "t", {"path": "/a"}, owner=owner)
        with suppress(Missing):
            await store.create(record)
        while await store.get(Kind.NODE, record.name):
            await asyncio.sleep(0.05)

    run(place, test)


def test_a_list_has_what_is_of_its_scope(place: Place) -> None:
    async def test(store: Store) -> None:
        tree, other = name("t"), name("t")
        nodes = [await store.create(Record(Kind.NODE, name(), tree, {"path": f"/{n}"})) for n in range(3)]
        await store.create(Record(Kind.NODE, name(), other, {"path": "/a"}))
        await store.create(Record(Kind.SESSION, name(), tree, LEASE))
        found, revision = await store.list(Scope(Kind.NODE, tree))
        assert sorted(found, key=lambda one: one.revision) == nodes
        assert revision >= nodes[-1].revision
        assert await store.list(Scope(Kind.NODE, name("t"))) == ([], pytest.approx(revision, abs=1e12))
        (one,), _ = await store.list(Scope(Kind.NODE, name=nodes[1].name))
        assert one == nodes[1]

    run(place, test)


def test_a_watch_tells_every_change_in_its_order(place: Place) -> None:
    async def test(store: Store) -> None:
        tree = name("t")
        before = await store.create(Record(Kind.NODE, name(), tree, {"path": "/0"}, b"0"))
        _, revision = await store.list(Scope(Kind.NODE, tree))
        expected = []
        for n in range(5):
            made = await store.create(Record(Kind.NODE, name(), tree, {"path": f"/{n}"}, b"x"))
            await store.create(Record(Kind.NODE, name(), name("other")))
            changed = await store.update(Kind.NODE, before.name, {}, value=b"\xff" * n)
            await store.delete(Kind.NODE, made.name)
            expected += [(made, False), (changed, False), (made, True)]
        found: list[Change] = []
        watch = store.watch(Scope(Kind.NODE, tree), revision)
        while len(found) < len(expected):
            change = await anext(watch)
            if change.record is not None:
                found.append(change)
        await watch.aclose()  # type: ignore[attr-defined]
        told = [(replace(change.record, revision=0), change.deleted) for change in found if change.record]
        assert told == [(replace(record, revision=0), deleted) for record, deleted in expected]
        revisions = [change.revision for change in found]
        assert revisions == sorted(set(revisions))
        assert revisions[0] == expected[0][0].revision

    run(place, test)


def test_a_watch_goes_on_from_any_change(place: Place) -> None:
    async def test(store: Store) -> None:
        lock = await store.create(Record(Kind.LOCK, name(), fields={"n": "0"}))
        changes = [await store.update(Kind.LOCK, lock.name, {"n": str(n)}) for n in range(1, 6)]
        for begin, revision in enumerate([lock.revision, *(one.revision for one in changes[:-1])]):
            watch = store.watch(Scope(Kind.LOCK, name=lock.name), revision)
            for expected in changes[begin:]:
                while (change := await anext(watch)).record is None:
                    pass
                assert change == Change(expected.revision, expected)
            await watch.aclose()  # type: ignore[attr-defined]

    run(place, test)


def test_a_watch_of_a_server_that_has_lost_its_memory_says_so(valkey: Server) -> None:
    place = Place(lambda: _at(valkey))

    async def test(store: Store) -> None:
        made = await store.create(Record(Kind.NODE, name(), "t"))
        watch = store.watch(Scope(Kind.NODE, "t"), made.revision + 10**9)
        with pytest.raises(HistoryGone):
            await anext(watch)

    run(place, test)


def test_who_looks_at_sessions_or_at_one_node_does_not_read_the_others(valkey: Server) -> None:
    """Sessions are looked at all the time, and nodes may be many and large."""

    async def test(store: Store) -> None:
        large, small = (Record(Kind.NODE, name(), "t", {"path": "/a"}, b"x" * n) for n in (MOST_BYTES, 1))
        await store.create(large)
        made = await store.create(small)
        with valkey.connect() as raw:
            before = raw.info()["total_net_output_bytes"]
            assert (await store.list(Scope(Kind.SESSION)))[0] == []
            assert (await store.list(Scope(Kind.NODE, name=small.name)))[0] == [made]
            assert raw.info()["total_net_output_bytes"] - before < MOST_BYTES

    run(Place(lambda: _at(valkey)), test)


def test_no_call_waits_for_ever_for_a_server_that_is_frozen(
    frozen: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_ANSWER_SECONDS", 0.1)

    async def test(store: Store) -> None:
        for call in (
            lambda: store.get(Kind.LOCK, "l"),
            lambda: store.list(Scope(Kind.LOCK)),
            lambda: store.create(Record(Kind.LOCK, "l")),
            lambda: store.update(Kind.LOCK, "l", {}),
            lambda: store.delete(Kind.LOCK, "l"),
        ):
            with pytest.raises(Unavailable, match="has not answered"):
                await call()

    run(Place(lambda: _at(frozen)), test)


@pytest.mark.parametrize("fields", [LEASE, {HOLDER: "me"}, {}])
def test_many_change_one_record_at_the_same_time_and_no_change_is_lost(
    place: Place, fields: dict[str, str]
) -> None:
    async def test(store: Store) -> None:
        lock = await store.create(Record(Kind.LOCK, name(), fields=fields))
        names = [f"waiter-{n}" for n in range(40)]
        await asyncio.gather(*(store.update(Kind.LOCK, lock.name, {one: "1"}) for one in names))
        found = await store.get(Kind.LOCK, lock.name)
        assert found is not None
        assert set(names) <= set(found.fields)

    run(place, test)


def test_one_of_many_wins_what_only_one_may_have(place: Place) -> None:
    async def test(store: Store) -> None:
        lock = await store.create(Record(Kind.LOCK, name(), fields={}))

        async def take(who: str) -> str | None:
            try:
                await store.update(Kind.LOCK, lock.name, {HOLDER: who}, where={HOLDER: None})
            except Conflict:
                return None
            return who

        winners = [one for one in await asyncio.gather(*(take(f"w{n}") for n in range(20))) if one]
        assert len(winners) == 1
        assert (await store.get(Kind.LOCK, lock.name)).fields[HOLDER] == winners[0]  # type: ignore[union-attr]

    run(place, test)


def test_what_is_too_large_is_refused_in_words(place: Place) -> None:
    async def test(store: Store) -> None:
        large = b"x" * (MOST_BYTES + 1)
        with pytest.raises(Refused, match="too large"):
            await store.create(Record(Kind.NODE, name(), "t", value=large))
        made = await store.create(Record(Kind.NODE, name(), "t", value=b"small"))
        with pytest.raises(Refused, match="too large"):
            await store.update(Kind.NODE, made.name, {}, value=large)
        assert await store.get(Kind.NODE, made.name) == made

    run(place, test)
