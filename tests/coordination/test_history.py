"""What a watcher hears, held against what etcd says was written: whatever becomes of connections and API server."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.coordination.apiserver import ApiServer, Line, Write
from tests.coordination.conftest import store_at, until

from gristmill.coordination.aio import Client
from gristmill.coordination.errors import Missing, Unavailable
from gristmill.coordination.nodes import PATH, Event, EventKind, Resync
from gristmill.coordination.tree import ConfigTree
from gristmill.coordination.watching import Watch

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TREE = "t"
_PATH_ANNOTATION = f"coordination.gristmill.dev/{PATH}"


@dataclass
class History:
    """What was written to a tree, write by write."""

    writes: list[tuple[int, str, str | None]]

    @classmethod
    def of(cls, log: Sequence[Write]) -> History:
        """Read etcd's log; who deletes does not say what."""
        paths: dict[str, str] = {}
        writes = []
        for one in log:
            if one.found is not None:
                paths[one.name] = one.found["metadata"]["annotations"][_PATH_ANNOTATION]
            text = one.found["data"]["value"] if one.found is not None else None
            if one.name.startswith(TREE + "."):
                writes.append((one.revision, paths[one.name], text))
        return cls(writes)

    def state(self, revision: int | None = None) -> dict[str, str]:
        """Return what there was at a revision, or at last."""
        state: dict[str, str] = {}
        for at, path, text in self.writes:
            if revision is None or at <= revision:
                state.pop(path, None)
                if text is not None:
                    state[path] = text
        return state

    def check(self, heard: Sequence[Event | Resync]) -> None:
        """See that what was heard is the history: every write in its order, but where a gap was told.

        After a gap come events that lead to the state at its version, and every write from then on.
        """
        state: dict[str, str] = {}
        coming = deque(self.writes)
        gap = 0
        for one in heard:
            if isinstance(one, Resync):
                assert one.version >= gap, "a gap leads back"
                gap = one.version
                while coming and coming[0][0] <= gap:
                    coming.popleft()
            elif one.node.version <= gap:
                _apply(state, one)
            else:
                if gap:
                    assert state == self.state(gap), "after a gap another state was told than there was"
                    gap = 0
                revision, path, text = coming.popleft()
                assert (one.node.version, one.path) == (revision, path), (
                    "a write was not told, or not in turn"
                )
                assert (one.kind is EventKind.DELETED) == (text is None)
                assert one.kind is not EventKind.CREATED or path not in state
                assert one.kind is EventKind.CREATED or path in state
                assert text is None or one.node.text == text
                _apply(state, one)
        assert not coming, f"{len(coming)} writes were not told"
        assert state == self.state(), "the latest state was not reached"


def _apply(state: dict[str, str], event: Event) -> None:
    state.pop(event.path, None)
    if event.kind is not EventKind.DELETED:
        state[event.path] = event.node.text


async def client_at(config: Path) -> Client:
    return Client(await store_at(config))


class Rig:
    """A tree that is written directly, and watched over a line with faults."""

    def __init__(self, server: ApiServer, line: Line, written: ConfigTree, watched: ConfigTree) -> None:
        self.server = server
        self.line = line
        self.watched = watched
        self.watch: Watch = watched.watch()
        self.chance = random.Random(7)
        self._tree = written
        self._last = 0

    async def write(self, number: int) -> None:
        """Write to some of the nodes, and delete some; each text is another."""
        for _ in range(number):
            path = f"/{self.chance.choice('abc')}/{self.chance.randrange(5)}"
            self._last += 1
            if self.chance.random() < 0.25:
                await _again(lambda path=path: self._tree.delete(path))
            else:
                text = f"{path} {self._last}"
                await _again(lambda path=path, text=text: self._tree.set(path, text))

    async def write_until(self, done: asyncio.Event) -> None:
        """Write until it is enough."""
        while not done.is_set():
            await self.write(10)

    async def caught_up(self) -> int:
        """Write once more, and wait until the watcher knows of it; return the revision."""
        self._last += 1
        last = (await self._tree.set("/end", f"{self._last}")).version
        await until(lambda: self.watched._view.revision >= last, 120)
        return last

    async def break_off(self, chance: float = 0.1) -> None:
        """Cut all connections of the watcher at random, until this is cancelled."""
        while True:
            await asyncio.sleep(self.chance.uniform(0, chance))
            self.line.cut()


async def _again(call: Callable[[], Awaitable[Any]]) -> None:
    """Make a call until there is an answer: what was not answered may have been written, which etcd knows."""
    while True:
        try:
            await call()
        except Unavailable:
            await asyncio.sleep(0.05)
        except Missing:
            return
        else:
            return


@asynccontextmanager
async def rig(server: ApiServer, namespace: str) -> AsyncIterator[Rig]:
    async with (
        Line(server.port) as line,
        await client_at(server.config(namespace=namespace)) as writer,
        await client_at(server.config(port=line.port, namespace=namespace)) as watcher,
    ):
        yield Rig(server, line, await writer.tree(TREE), await watcher.tree(TREE))


def try_out(server: ApiServer, faults: Callable[[Rig], Awaitable[None]]) -> list[Event | Resync]:
    """Write and watch while faults happen; hold what was heard against the history, and return it."""
    namespace = server.make_namespace()
    log = server.log("configmaps", namespace)

    async def whole() -> tuple[int, list[Event | Resync]]:
        async with asyncio.timeout(240), rig(server, namespace) as made:
            await faults(made)
            last = await made.caught_up()
            made.watch.close()
            return last, [one async for one in made.watch]

    try:
        last, heard = asyncio.run(whole())
        History.of(log.until(last)).check(heard)
    finally:
        log.close()
    return heard


def gaps(heard: Sequence[Event | Resync]) -> int:
    return sum(isinstance(one, Resync) for one in heard)


def test_connections_that_are_cut_hide_nothing(api_server: ApiServer) -> None:
    async def faults(rig: Rig) -> None:
        for _ in range(15):
            await rig.write(10)
            await until(lambda: rig.line.cut() > 0)

    heard = try_out(api_server, faults)
    assert gaps(heard) == 0


def test_an_api_server_that_is_stopped_or_killed_hides_nothing(api_server: ApiServer) -> None:
    async def faults(rig: Rig) -> None:
        done = asyncio.Event()
        writing = asyncio.create_task(rig.write_until(done))
        cutting = asyncio.create_task(rig.break_off(0.5))
        for _ in range(2):
            seen = rig.watched._view.revision
            await until(lambda seen=seen: rig.watched._view.revision > seen)
            rig.server.send(signal.SIGSTOP)
            await asyncio.sleep(rig.chance.uniform(0.1, 0.5))
            rig.server.send(signal.SIGCONT)
            await until(lambda seen=seen: rig.watched._view.revision > seen + 5)
            rig.server.kill()
            await asyncio.to_thread(rig.server.start)
        done.set()
        await writing
        cutting.cancel()

    try_out(api_server, faults)


def test_a_gap_is_told_where_history_is_gone_and_the_latest_state_reached(api_server: ApiServer) -> None:
    async def faults(rig: Rig) -> None:
        for _ in range(2):
            await rig.write(30)
            rig.line.dead = True
            rig.line.cut()
            await rig.write(30)
            await asyncio.to_thread(rig.server.forget)
            await rig.write(30)
            rig.line.dead = False
            await rig.caught_up()
        await rig.write(30)

    heard = try_out(api_server, faults)
    assert gaps(heard) == 2


def test_a_thousand_watchers_open_one_watch_at_the_api_server(api_server: ApiServer) -> None:
    namespace = api_server.make_namespace()
    before = api_server.watches("configmaps")

    async def whole() -> None:
        async with asyncio.timeout(120), await client_at(api_server.config(namespace=namespace)) as client:
            watches = []
            for n in range(1000):
                tree = await client.tree(TREE)
                watches.append(tree.watch(f"/{n % 10}", ("node", "children", "subtree")[n % 3]))
            for n in range(10):
                await tree.set(f"/{n}", str(n))
                await tree.set(f"/{n}/below", str(n))
            for watch in watches:
                event = await anext(watch)
                assert isinstance(event, Event)
                assert event.path.startswith(watch.path)
                assert event.node.text == watch.path[1:]
            assert api_server.watches("configmaps") == before + 1

    asyncio.run(whole())
