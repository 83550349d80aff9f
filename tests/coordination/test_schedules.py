"""Holders that are stopped at the worst moment, with clocks an hour apart: who comes too late writes nothing."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.protocol.harness import Server

from gristmill.coordination.aio import Client
from gristmill.coordination.clock import boot_time
from gristmill.coordination.errors import Fenced, NotHeld, Unavailable
from gristmill.coordination.lock import Lock, Token
from gristmill.coordination.valkey import ValkeyStore

#: schedules that go on at the same time
TOGETHER = 25
#: seconds of a lease, and of a schedule
SECONDS = 1
LASTS = 8.0


class Process:
    """A process that can be stopped: its calls do not leave it then, and its own code does not go on."""

    def __init__(self, store: ValkeyStore, hour: float, chance: random.Random) -> None:
        self._store = store
        self.chance = chance
        self._runs = asyncio.Event()
        self._runs.set()
        self.client = Client(self, clock=lambda: boot_time() + hour)  # type: ignore[arg-type]

    @property
    def runs(self) -> bool:
        return self._runs.is_set()

    async def stop_sometimes(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(0, 3 * SECONDS))
            self._runs.clear()
            await asyncio.sleep(self.chance.uniform(0, 2 * SECONDS))
            self._runs.set()

    async def going_on(self) -> None:
        """Come to a place at which it may be stopped."""
        await asyncio.sleep(0)
        await self._runs.wait()

    async def watch(self, *args: Any) -> AsyncIterator[Any]:
        async for change in self._store.watch(*args):
            await self.going_on()
            yield change

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)

        async def wrapped(*args: Any, **named: Any) -> Any:
            await self.going_on()
            answer = await call(*args, **named)
            await self.going_on()
            if name in ("create", "update", "delete") and self.chance.random() < 0.02:
                raise Unavailable("the answer was lost")
            return answer

        return wrapped


class FileStore:
    """A file of lines that refuses whoever comes with an older token than the last line has."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def append(self, token: Token, line: str) -> None:
        lines = self._path.read_text().splitlines()
        if lines and int(lines[-1].split()[0]) > token.number:
            raise Fenced("a later holder has written")
        with self._path.open("a") as file:
            file.write(f"{token.number} {line}\n")

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self._path.read_text().splitlines()]


@asynccontextmanager
async def process(
    server: Server, namespace: str, hour: float, chance: random.Random
) -> AsyncIterator[Process]:
    store = ValkeyStore(server.url, namespace)
    made = Process(store, hour, chance)
    try:
        yield made
    finally:
        made._runs.set()
        made.chance = random.Random(0)
        await made.client.close()


async def act(me: str, mine: Process, lock: Lock, tree: Any, file: FileStore) -> None:
    """Take the lock again and again, and write what it protects, as a program would."""
    end = boot_time() + LASTS
    while boot_time() < end:
        await mine.going_on()
        try:
            if not await lock.acquire(LASTS):
                continue
            await asyncio.sleep(mine.chance.uniform(0, SECONDS / 4))
            await mine.going_on()
            token = lock.token
            await asyncio.sleep(
                mine.chance.uniform(0, SECONDS / 2)
            )  # (it holds the lock, and may be stopped now)
            await mine.going_on()
            if mine.chance.random() < 0.5:
                file.append(token, me)
            else:
                await tree.set("/protected", f"{token.number} {me}", token=token)
            await asyncio.sleep(mine.chance.uniform(0, SECONDS / 4))
            await mine.going_on()
            file.append(lock.token, me)
            await lock.release()
        except (NotHeld, Fenced, Unavailable):
            pass


async def schedule(server: Server, seed: int, folder: Path) -> Counter[str]:
    """Run one; return how often a file and a tree were written, and how often the next write was of another holder."""
    chance = random.Random(seed)
    namespace = secrets.token_hex(6)
    async with AsyncExitStack() as stack:
        hours = (0.0, chance.choice([-3600.0, 3600.0]))
        processes = [
            await stack.enter_async_context(process(server, namespace, hour, chance)) for hour in hours
        ]
        locks = [one.client.lock("l", seconds=SECONDS) for one in processes]
        trees = [await one.client.tree("t") for one in processes]
        written: list[int] = []
        watch = trees[0].watch("/protected")

        async def note() -> None:
            async for event in watch:
                number, _ = event.node.text.split()  # type: ignore[union-attr]
                written.append(int(number))

        async def look() -> None:
            while True:
                holding = [one for one, lock in zip(processes, locks, strict=True) if one.runs and lock.held]
                assert len(holding) <= 1, f"seed {seed}: both act"
                await asyncio.sleep(0.01)

        file = FileStore(folder / str(seed))
        noting, looking = asyncio.create_task(note()), asyncio.create_task(look())
        stopping = [asyncio.create_task(one.stop_sometimes()) for one in processes]
        parts = zip("ab", processes, locks, trees, strict=True)
        work = asyncio.gather(*(act(*part, file) for part in parts))
        try:
            await asyncio.wait([looking, work], return_when=asyncio.FIRST_COMPLETED, timeout=60)
            assert work.done() or looking.done(), f"seed {seed}: it does not end"
            for task in (work, looking):
                if task.done():
                    task.result()
        finally:
            for task in (looking, noting, *stopping, work):
                task.cancel()
            for one in processes:
                one._runs.set()
        numbers = [int(number) for number, _ in file.lines()]
        assert numbers == sorted(numbers), f"seed {seed}: an older token has written"
        assert written == sorted(written), f"seed {seed}: an older token has written"
        holders = [holder for _, holder in file.lines()]
        turns = sum(one != other for one, other in pairwise(holders))
        return Counter({"files": len(holders), "trees": len(written), "turns": turns})


@pytest.mark.parametrize(
    "schedules", [50, pytest.param(500, marks=[pytest.mark.chaos, pytest.mark.timeout(600)])]
)
def test_two_that_are_stopped_at_any_moment_never_both_act(
    valkey: Server, tmp_path: Path, schedules: int
) -> None:
    """Each that does not stand still acts alone; and who wakes up late writes nothing."""

    async def batch(seeds: range) -> Counter[str]:
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(schedule(valkey, seed, tmp_path)) for seed in seeds]
        return sum((run.result() for run in runs), Counter())

    for first in range(0, schedules, TOGETHER):
        done = asyncio.run(batch(range(first, first + TOGETHER)))
        assert min(done["files"], done["trees"], done["turns"]) >= TOGETHER, "hardly anybody held the lock"
