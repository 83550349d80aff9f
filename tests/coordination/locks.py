"""Handles of one lock, at a store that may fail, for tests."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from tests.coordination.conftest import Place

from gristmill.coordination.clock import boot_time
from gristmill.coordination.errors import Unavailable
from gristmill.coordination.lock import Lock
from gristmill.coordination.port import Kind, Store

#: seconds of a lease in these tests
SECONDS = 2
#: the same of one that nothing is to take away, however slow the machine is
LONG = 30


class Bench:
    """Makes handles of one lock at one store, and stores that fail."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.name = f"l-{secrets.token_hex(4)}"

    def lock(self, store: Store | None = None, **more: Any) -> Lock:
        options: dict[str, Any] = {"identity": "me", "seconds": SECONDS, "clock": boot_time} | more
        return Lock(store or self.store, self.name, **options)

    async def record(self) -> Any:
        return await self.store.get(Kind.LOCK, self.name)


def run(place: Place, test: Callable[[Bench], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with place.store() as store, asyncio.timeout(60):
            await test(Bench(store))

    asyncio.run(whole())


class Faulty:
    """A store whose next writes are not made, or made and not answered."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: what happens to the next writes: "before" or "after" they are made the connection is lost
        self.faults: list[str] = []
        #: whether it is away altogether
        self.away = False

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)
        if name == "watch":
            return call

        async def wrapped(*args: Any, **named: Any) -> Any:
            fault = self.faults.pop(0) if self.faults and name in ("create", "update", "delete") else ""
            if self.away or fault == "before":
                raise Unavailable("it does not answer")
            answer = await call(*args, **named)
            if fault == "after":
                raise Unavailable("it does not answer")
            return answer

        return wrapped
