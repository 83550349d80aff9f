"""How a task is ended by who has started it, and what a user gives is called in one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any


def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task, once: what it does for that is not cut off by who comes later."""
    if not task.cancelling():
        task.cancel()


async def end(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task, and wait until it has ended, whatever it raises. Who is cancelled meanwhile learns of it."""
    if task is not None:
        cancel(task)
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # (or it would be said that nobody has asked)


async def called(call: Callable[..., Awaitable[None] | None], *args: object) -> None:
    """Call a function, and wait for what it returns where that is to be awaited."""
    found = call(*args)
    if inspect.isawaitable(found):
        await found
