"""A tree's watch and a raw one that see the same writes: what disturbs the one disturbs the other."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.coordination.numbers import times
from benchmarks.coordination.raw import CONFIG_MAPS, connected
from gristmill.coordination import aio


def latencies(namespace: str, number: int) -> dict[str, float]:
    """From before a ConfigMap is written until each of two watchers is told."""

    async def work() -> dict[str, float]:
        path = CONFIG_MAPS.format(namespace)
        async with (
            await aio.connect(namespace=namespace) as client,
            connected() as watcher,
            connected() as writer,
        ):
            tree = await client.tree("latency")
            await tree.set("/a", "first")
            node = await writer.call("GET", f"{path}/latency.a")
            metadata = {name: node["metadata"][name] for name in ("name", "labels", "annotations")}
            selector = "labelSelector=coordination.gristmill.dev/tree%3Dlatency"
            events = watcher.events(f"{path}?{selector}", node["metadata"]["resourceVersion"])
            watch = tree.watch("/a", initial=False)
            seconds: list[float] = []
            raw_seconds: list[float] = []
            for n in range(number):
                body = {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": metadata,
                    "data": {"value": str(n)},
                }
                begin = time.perf_counter()
                writing = asyncio.ensure_future(writer.call("PUT", f"{path}/latency.a", body))
                ours, raws = await asyncio.gather(_told(watch), _told(events))
                assert ours[0].node.text == raws[0]["object"]["data"]["value"] == str(n)
                seconds.append(ours[1] - begin)
                raw_seconds.append(raws[1] - begin)
                await writing
            return {**times(seconds), **{f"raw {name}": one for name, one in times(raw_seconds).items()}}

    return asyncio.run(work())


async def _told(events: Any) -> tuple[Any, float]:
    event = await anext(events)
    return event, time.perf_counter()
