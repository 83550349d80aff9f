"""What a cluster's API server may say to who coordinates, and what they are told or what is tried again."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.coordination.conftest import Place
from tests.coordination.test_lock import Bench, run

pytestmark = pytest.mark.e2e

#: what a quota says that several write to at the same time
_BUSY = (
    'Operation cannot be fulfilled on resourcequotas "team": the object has been modified; please apply your changes '
    "to the latest version and try again"
)


class Saying:
    """A connection to the API server on which some requests of a method are answered otherwise, before it is asked."""

    def __init__(self, connection: Any, method: str, *answers: tuple[int, dict[str, Any]]) -> None:
        self._connection = connection
        self._method = method
        self.answers = list(answers)

    async def send(self, method: str, *more: Any) -> Any:
        if method == self._method and self.answers:
            return _Answer(*self.answers.pop(0))
        return await self._connection.send(method, *more)

    async def close(self) -> None:
        await self._connection.close()


class _Answer:
    def __init__(self, status: int, said: dict[str, Any]) -> None:
        self.status = status
        self._said = said

    async def read(self) -> bytes:
        return json.dumps(self._said).encode()


def test_a_quota_that_is_busy_is_asked_again(namespace: Callable[[], Awaitable[Any]]) -> None:
    async def test(bench: Bench) -> None:
        store: Any = bench.store
        busy = (409, {"message": _BUSY, "reason": "Conflict"})
        store._connection = saying = Saying(store._connection, "POST", busy, busy)
        async with bench.lock() as lock:
            assert lock.held
            assert not saying.answers
            saying.answers = [busy]
            assert not await bench.lock().acquire(blocking=False)

    run(Place(namespace), test)
