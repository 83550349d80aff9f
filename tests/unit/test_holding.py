"""How a hold is kept: what keeps it from being renewed is told."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from gristmill.coordination import saying
from gristmill.coordination.holding import hold, keep
from gristmill.coordination.port import Kind, Record


def test_a_server_that_does_not_answer_in_time_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.sleep(60)

    store = SimpleNamespace(update=never)
    held = hold("me", Record(Kind.LOCK, "l", "", {}, revision=1, uid="u"), time.monotonic(), 0.6)
    why = asyncio.run(keep(store, held, 0.6, time.monotonic))  # type: ignore[arg-type]
    saying._speaker.finish()
    assert why == "it could not be renewed in time"
    assert caplog.messages == ["lock l can't be renewed now: TimeoutError"]
