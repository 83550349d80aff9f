"""The peers at a Valkey: redis-py, and its Lock."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from benchmarks.coordination.numbers import rate


def locks(url: str, number: int) -> dict[str, float]:
    """Take and give up a lock of redis-py's that nobody else wants."""

    async def work() -> dict[str, float]:
        async with Redis.from_url(url) as client:
            lock = client.lock("peer", timeout=15)

            async def once() -> None:
                await lock.acquire()
                await lock.release()

            return await rate(number, once)

    return asyncio.run(work())


def gets(url: str, number: int) -> dict[str, float]:
    """Read a field of a hash, again and again."""

    async def work() -> dict[str, float]:
        async with Redis.from_url(url) as client:
            await client.hset("peer", "a", "1")
            return await rate(number, lambda: client.hget("peer", "a"))

    return asyncio.run(work())


def lists(url: str, nodes: int) -> dict[str, float]:
    """Read a hash with as many fields once."""

    async def work() -> dict[str, float]:
        async with Redis.from_url(url) as client:
            await client.hset("peers", mapping={f"/services/{n}": "x" * 200 for n in range(nodes)})
            begin = time.perf_counter()
            await client.hgetall("peers")
            return {"list": time.perf_counter() - begin}

    return asyncio.run(work())
