"""A tree that many clients share, for tests."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from tests.coordination.conftest import Place

from gristmill.coordination.aio import Client
from gristmill.coordination.nodes import Event, Resync
from gristmill.coordination.tree import ConfigTree

#: seconds of a session in these tests
SECONDS = 2


class Bench:
    """One tree, as many clients have it."""

    def __init__(self, place: Place, clients: list[Client], stack: Any) -> None:
        self._place = place
        self._clients = clients
        self._stack = stack
        self.name = f"t-{secrets.token_hex(4)}"

    async def client(self) -> Client:
        return Client(await self._stack.enter_async_context(self._place.store()))

    async def tree(self, **more: Any) -> ConfigTree:
        client = await self.client()
        self._clients.append(client)
        return await client.tree(self.name, seconds=SECONDS, **more)


def run(place: Place, test: Callable[[Bench], Awaitable[None]]) -> None:
    from contextlib import AsyncExitStack

    async def whole() -> None:
        async with asyncio.timeout(60), AsyncExitStack() as stack:
            clients: list[Client] = []
            await test(Bench(place, clients, stack))
            for client in clients:
                await client.close()

    asyncio.run(whole())


def told(events: list[Event | Resync]) -> list[tuple[str, str, bytes]]:
    return [(str(one.kind), one.path, one.node.value) for one in events if isinstance(one, Event)]
