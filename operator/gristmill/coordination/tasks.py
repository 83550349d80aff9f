"""How a task is ended by who has started it."""

from __future__ import annotations

import asyncio
from typing import Any


async def end(task: asyncio.Future[Any] | None) -> None:
    """Cancel a task, and wait until it has ended, whatever it raises. Who is cancelled meanwhile learns of it."""
    if task is not None:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # (or it would be said that nobody has asked)
