"""What Gristmill's locks and trees do, wherever the environment says that they are."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.coordination.numbers import rate, times
from gristmill.coordination import aio
from gristmill.coordination.port import Kind


def uncontended(namespace: str, number: int) -> dict[str, float]:
    """Take and give up a lock that nobody else wants."""

    async def work() -> dict[str, float]:
        async with await aio.connect(namespace=namespace) as client:
            lock = client.lock("uncontended")

            async def once() -> None:
                await lock.acquire()
                await lock.release()

            return await rate(number, once)

    return asyncio.run(work())


def hand_overs(namespace: str, number: int) -> dict[str, float]:
    """From when a holder begins to give a lock up until who waits for it has it."""

    async def work() -> dict[str, float]:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(await aio.connect(namespace=namespace)) for _ in range(2)
            ]
            first, second = (client.lock("handed-over") for client in clients)
            seconds = []
            await first.acquire()
            for _ in range(number):
                had = asyncio.create_task(_had(second))
                while not await _anybody_waits(clients[0]._store):
                    await asyncio.sleep(0.001)
                begin = time.perf_counter()
                await first.release()
                seconds.append(await had - begin)
                first, second = second, first
            await first.release()
            return times(seconds)

    return asyncio.run(work())


async def _had(lock: aio.Lock) -> float:
    await lock.acquire()
    return time.perf_counter()


async def _anybody_waits(store: Any) -> bool:
    record = await store.get(Kind.LOCK, "handed-over")
    return record is not None and any(name.startswith("waiter-") for name in record.fields)


def latencies(namespace: str, number: int) -> dict[str, float]:
    """From before a node is written until another client's watcher is told."""

    async def work() -> dict[str, float]:
        async with (
            await aio.connect(namespace=namespace) as writer,
            await aio.connect(namespace=namespace) as reader,
        ):
            written, read = await writer.tree("latency"), await reader.tree("latency")
            watch = read.watch("/a", initial=False)
            seconds = []
            for n in range(number):
                begin = time.perf_counter()
                writing = asyncio.ensure_future(written.set("/a", str(n)))
                event = await anext(watch)
                seconds.append(time.perf_counter() - begin)
                assert event.node.text == str(n)  # type: ignore[union-attr]
                await writing
            return times(seconds)

    return asyncio.run(work())


def gets(namespace: str, number: int) -> dict[str, float]:
    """Read a node, again and again."""

    async def work() -> dict[str, float]:
        async with await aio.connect(namespace=namespace) as client:
            tree = await client.tree("read")
            await tree.set("/db/host", "a.example")
            await asyncio.sleep(1)
            begin = time.perf_counter()
            for _ in range(number):
                tree.get("/db/host")
            return {"rate": number / (time.perf_counter() - begin)}

    return asyncio.run(work())


def fill(namespace: str, tree: str, nodes: int) -> dict[str, float]:
    """Make a tree of so many nodes where it has fewer."""

    async def work() -> dict[str, float]:
        async with await aio.connect(namespace=namespace) as client:
            made = await client.tree(tree)
            there = {node.path for node in made.walk()}
            missing = iter([path for n in range(nodes) if (path := _path(n)) not in there])

            async def some() -> None:
                for path in missing:
                    await made.create(path, f"value of {path}")

            await asyncio.gather(*(some() for _ in range(16)))
            return {"nodes": len(made.walk())}

    return asyncio.run(work())


def _path(number: int) -> str:
    return f"/services/{number // 100}/instances/{number % 100}"


def large(namespace: str, tree: str) -> dict[str, float]:
    """Read a tree, look at it, and watch it: seconds, ms and MiB."""

    async def work() -> dict[str, float]:
        async with (
            await aio.connect(namespace=namespace) as writer,
            await aio.connect(namespace=namespace) as client,
        ):
            before = _resident()
            begin = time.perf_counter()
            made = await client.tree(tree)
            numbers = {"list": time.perf_counter() - begin, "memory": _resident() - before}
            for name, call in {
                "children": lambda: made.children("/services"),
                "walk": made.walk,
                "walk of 100": lambda: made.walk("/services/1"),
            }.items():
                begin = time.perf_counter()
                found = call()
                numbers[name] = (time.perf_counter() - begin) * 1000
            numbers["nodes"] = len(made.walk())
            assert len(found) == 100
            begin = time.perf_counter()
            watch = made.watch("/services")
            for _ in range(len(made.walk("/services"))):
                await anext(watch)
            numbers["watch begun"] = (time.perf_counter() - begin) * 1000
            theirs = await writer.tree(tree)
            seconds = []
            for n in range(50):
                begin = time.perf_counter()
                writing = asyncio.ensure_future(theirs.set(_path(n), f"{begin}"))
                await anext(watch)
                seconds.append(time.perf_counter() - begin)
                await writing
            numbers["change"] = times(seconds)["median"]
            return numbers

    return asyncio.run(work())


def _resident() -> float:
    """Return the resident memory of this process, in MiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def killed_holder(namespace: str, seconds: int) -> dict[str, float]:
    """From the kill -9 of a holder until who waits has the lock."""

    async def work() -> dict[str, float]:
        async with await aio.connect(namespace=namespace) as client:
            with _other(namespace, f"c.lock('killed', seconds={seconds}).acquire()") as holder:
                lock = client.lock("killed", seconds=seconds)
                had = asyncio.create_task(_had(lock))
                await asyncio.sleep(seconds / 2)
                begin = time.perf_counter()
                holder.send_signal(signal.SIGKILL)
                numbers = {"seconds": await had - begin}
            await lock.release()
            return numbers

    return asyncio.run(work())


def killed_session(namespace: str, seconds: int) -> dict[str, float]:
    """From the kill -9 of a client until others are told that its ephemeral node is gone."""

    async def work() -> dict[str, float]:
        async with await aio.connect(namespace=namespace) as client:
            tree = await client.tree("killed")
            watch = tree.watch("/member", initial=False)
            text = f"c.tree('killed', seconds={seconds}).create('/member', ephemeral=True)"
            with _other(namespace, text) as member:
                await anext(watch)
                await asyncio.sleep(seconds / 2)
                begin = time.perf_counter()
                member.send_signal(signal.SIGKILL)
                event = await anext(watch)
                assert event.kind == "deleted"  # type: ignore[union-attr]
                return {"seconds": time.perf_counter() - begin}

    return asyncio.run(work())


def _other(namespace: str, text: str) -> subprocess.Popen[str]:
    """Start a program with a client `c`, and wait until it has done something."""
    begin = f"from gristmill.coordination import connect\nc = connect(namespace={namespace!r})\n"
    words = [sys.executable, "-c", f"{begin}{text}\nprint('done', flush=True)\ninput()"]
    program = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    if program.stdout.readline() != "done\n":
        raise RuntimeError("the other program has failed")
    return program
