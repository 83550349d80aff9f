"""A watch of the API server that does not last."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from gristmill.coordination.kube import KubeStore
from gristmill.coordination.port import Kind, Scope


class Plain:
    """The way to a server that asks nobody who they are."""

    def __init__(self, server: TestServer) -> None:
        self._server = server
        self._session = aiohttp.ClientSession()

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], body: Any, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        return await self._session.request(
            method, self._server.make_url(path), headers=headers, json=body, timeout=timeout
        )

    async def close(self) -> None:
        await self._session.close()


def test_a_watch_that_ends_at_once_is_begun_again_after_pauses_that_grow() -> None:
    """As where a proxy answers for the API server; what it did bring is not asked for again."""
    asked: list[tuple[float, str]] = []
    enough = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        asked.append((asyncio.get_running_loop().time(), request.query["resourceVersion"]))
        if len(asked) == 5:
            enough.set()
        mark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "7"}}}
        return web.Response(text=json.dumps(mark) + "\n" if len(asked) == 1 else "")

    async def test() -> None:
        application = web.Application()
        application.router.add_get("/{path:.*}", answer)
        async with TestServer(application) as server:
            store = KubeStore(Plain(server), "here")

            async def follow() -> None:
                async for _ in store.watch(Scope(Kind.NODE, "t"), 1):
                    pass

            following = asyncio.create_task(follow())
            await enough.wait()
            following.cancel()
            await store.close()

    asyncio.run(test())
    assert [revision for _, revision in asked] == ["1", "7", "7", "7", "7"]
    assert asked[4][0] - asked[0][0] > 0.5 * (0.05 + 0.05 + 0.1 + 0.2)
