"""An event loop in a thread of its own, which programs without one give work to, and wait for it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from gristmill.coordination.errors import Closed, closed, threadless
from gristmill.coordination.saying import later

T = TypeVar("T")

#: seconds for which a thread is waited for that has done its work: it takes no time, but `join` has a lock
_JOIN_SECONDS = 1.0

#: this process (to ask the system takes as long as to read a node)
_process = os.getpid()


def _know_process() -> None:
    global _process
    _process = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_know_process)


class Runner:
    """An event loop in a thread, until it is stopped.

    A signal's handler may use it while what it has interrupted does: so there is no lock that both would take, and none
    that the loop would wait for. (A `Future` of a thread has one; a SimpleQueue has none that is seen.)
    """

    def __init__(self) -> None:
        self._process = _process
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_say)
        self._end = asyncio.Event()
        #: where it is told that something is done: the task, or None where the loop has ended before
        self._waiting: set[SimpleQueue[asyncio.Task[Any] | None]] = set()
        self._thread = threading.Thread(target=self._run, name="gristmill coordination", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._loop.close()
            raise threadless(error) from error

    @property
    def is_here(self) -> bool:
        """Whether this is the process that has the loop: in one that was forked from it, what is known gets old."""
        return self._process == _process

    def check_process(self) -> None:
        """Raise Closed in another process."""
        if not self.is_here:
            raise Closed("the client was made in another process: connect again in this one")

    def wait(
        self,
        work: Coroutine[Any, Any, T],
        undo: Callable[[], Coroutine[Any, Any, object]] | None = None,
        *,
        anyway: bool = False,
    ) -> T:
        """Return what a coroutine does; what interrupts the wait (Ctrl-C) cancels it, and waits until it has ended.

        Where it has ended well all the same, and nobody gets what came of it, `undo` is done. With `anyway` it is done
        also where the wait was interrupted before it began: it gives something up. Of two exceptions that interrupt
        (of handlers of signals) the second is raised where it is one that ends programs.
        """
        tasks: list[asyncio.Task[T]] = []
        try:
            self._do(work, tasks)
            return tasks[0].result()
        except asyncio.CancelledError:
            raise closed() from None
        except BaseException as error:
            done = bool(tasks) and tasks[0].done() and not tasks[0].cancelled()
            if not (done and tasks[0].exception() is error):
                self._take_back(work, tasks, undo, anyway=anyway)
            raise

    def _do(self, work: Coroutine[Any, Any, T], tasks: list[asyncio.Task[T]]) -> None:
        """Have the loop do something, and wait until it has ended; its task is put to `tasks` when it begins."""
        told: SimpleQueue[asyncio.Task[Any] | None] = SimpleQueue()

        def begin() -> None:
            if self._end.is_set():
                told.put(None)
            else:
                tasks.append(self._loop.create_task(work))
                tasks[0].add_done_callback(told.put)

        try:
            self.check_process()
            if threading.current_thread() is self._thread:
                raise Closed("the client's own callback waits for it: use another thread")
            self._waiting.add(told)  # (before the loop can have ended: what it can't do any more it tells)
            self._give(begin)
            if told.get() is None:
                raise closed()
        except Closed:
            if not tasks:
                work.close()
            raise
        finally:
            self._waiting.discard(told)

    def _give(self, call: Callable[[], object]) -> None:
        """Have the loop call something. Closed where it has ended."""
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            raise closed() from None

    def _take_back(
        self,
        work: Coroutine[Any, Any, T],
        tasks: Sequence[asyncio.Task[T]],
        undo: Callable[[], Coroutine[Any, Any, object]] | None,
        *,
        anyway: bool,
    ) -> None:
        """Cancel work of which there is a task, if it has begun, and undo what it has done; wait for that."""

        async def take_back() -> None:
            if not tasks:
                if anyway:
                    with suppress(Exception):
                        await work
                work.close()
                return
            tasks[0].cancel()
            await asyncio.wait(tasks)
            if undo and not tasks[0].cancelled() and not tasks[0].exception() and tasks[0].result():
                with suppress(Exception):  # (it may be undone already)
                    await undo()

        with suppress(Exception):
            self._do(take_back(), [])

    def call(self, call: Callable[[], T]) -> T:
        """Return what a function does that must run where the loop is."""

        async def work() -> T:
            return call()

        return self.wait(work())

    def stop(self) -> None:
        """End the loop; who waits for something is told Closed."""
        if not self.is_here:
            return
        told: SimpleQueue[asyncio.Task[Any] | None] = SimpleQueue()
        self._waiting.add(told)
        with suppress(Closed):
            self._give(self._end.set)
            if threading.current_thread() is not self._thread:
                told.get()
                self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._until_end())
        finally:
            self._loop.close()
            for told in list(self._waiting):
                told.put(None)

    async def _until_end(self) -> None:
        await self._end.wait()
        await _cancel_all()


def _say(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what went wrong in a loop, as it would do itself."""
    later(lambda: loop.default_exception_handler(context))


async def _cancel_all() -> None:
    """Cancel all else that runs in this loop, and wait until it has ended."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
