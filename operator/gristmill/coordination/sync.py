"""The same for programs without an event loop: a loop in a thread of its own does the work, and is waited for here.

Nothing is implemented twice: each call is made of the one in `aio`.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from queue import SimpleQueue
from typing import Any, Self, TypeVar

from gristmill.coordination import aio
from gristmill.coordination.errors import Closed, closed
from gristmill.coordination.lock import Token
from gristmill.coordination.nodes import Event, Node, Resync
from gristmill.coordination.watching import Depth

T = TypeVar("T")
log = logging.getLogger(__name__)

#: seconds between two looks at whether a lock that was lost while its process stood still is lost
_LOOK_SECONDS = 0.1
#: seconds for which a thread is waited for that has done its work: it takes no time, but `join` has a lock
_JOIN_SECONDS = 1.0

#: this process (to ask the system takes as long as to read a node)
_process = os.getpid()


def _know_process() -> None:
    global _process
    _process = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_know_process)


def connect(
    url: str | None = None, *, namespace: str | None = None, context: str | None = None, identity: str = ""
) -> Client:
    """Return a client, as `aio.connect` does."""
    runner = _Runner()
    try:
        client = runner.wait(aio.connect(url, namespace=namespace, context=context, identity=identity))
    except BaseException:
        runner.stop()
        raise
    return Client(client, runner)


class _Runner:
    """An event loop in a thread, until it is stopped.

    A signal's handler may use it while what it has interrupted does: so there is no lock that both would take, and none
    that the loop would wait for. (A `Future` of a thread has one; a SimpleQueue has none that is seen.)
    """

    def __init__(self) -> None:
        self._process = _process
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        #: where it is told that something is done: the task, or None where the loop has ended before
        self._waiting: set[SimpleQueue[asyncio.Task[Any] | None]] = set()
        self._thread = threading.Thread(target=self._run, name="gristmill coordination", daemon=True)
        self._thread.start()

    @property
    def is_here(self) -> bool:
        """Whether this is the process that has the loop: in one that was forked from it, what is known gets old."""
        return self._process == _process

    def check_process(self) -> None:
        """Raise Closed in another process."""
        if not self.is_here:
            raise Closed("the client was made in another process: connect again in this one")

    def wait(
        self, work: Coroutine[Any, Any, T], undo: Callable[[], Coroutine[Any, Any, object]] | None = None
    ) -> T:
        """Return what a coroutine does; what interrupts the wait (Ctrl-C) cancels it, and waits until it has ended.

        Where it has ended well all the same, and nobody gets what came of it, `undo` is done.
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
                self._take_back(work, tasks, undo)
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
    ) -> None:
        """Cancel work of which there is a task, if it has begun, and undo what it has done; wait for that."""

        async def take_back() -> None:
            if not tasks:
                work.close()
                return
            tasks[0].cancel()
            await asyncio.wait(tasks)
            if undo and not tasks[0].cancelled() and not tasks[0].exception() and tasks[0].result():
                await undo()

        with suppress(BaseException):
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


async def _cancel_all() -> None:
    """Cancel all else that runs in this loop, and wait until it has ended."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


class Client:
    """Makes locks, elections and trees. When it is closed, or the program ends, what is held is given up."""

    def __init__(self, client: aio.Client, runner: _Runner) -> None:
        self._client = client
        self._runner = runner
        atexit.register(self.close)

    def lock(self, name: str, *, seconds: int = aio.LEASE_SECONDS, timeout: float | None = None) -> Lock:
        """Return a handle of the lock of a name, as `aio.Client.lock`."""
        return Lock(
            self._runner.call(lambda: self._client.lock(name, seconds=seconds, timeout=timeout)), self._runner
        )

    def election(self, name: str, *, seconds: int = aio.LEASE_SECONDS) -> Election:
        """Return a candidate in the election of a name."""
        return Election(self.lock(name, seconds=seconds))

    def tree(
        self, name: str, *, seconds: int | None = None, schemas: Mapping[str, Any] | None = None
    ) -> ConfigTree:
        """Return the tree of a name, as `aio.Client.tree`."""
        tree = self._runner.wait(self._client.tree(name, seconds=seconds, schemas=schemas))
        return ConfigTree(tree, self._runner)

    def close(self) -> None:
        """Give up what is held, and end."""
        atexit.unregister(self.close)
        try:
            with suppress(Closed):
                self._runner.wait(self._client.close())
        finally:
            self._runner.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Lock:
    """One holder's handle of a lock; see `gristmill.coordination.lock.Lock`."""

    def __init__(self, lock: aio.Lock, runner: _Runner) -> None:
        self._lock = lock
        self._runner = runner

    @property
    def name(self) -> str:
        """The lock's name."""
        return self._lock.name

    @property
    def held(self) -> bool:
        """Whether it is held now, by one's own clock; not in a process that was forked from the holder's."""
        return self._runner.is_here and self._lock.held

    @property
    def token(self) -> Token:
        """The fencing token of this hold. NotHeld where there is none, LockLost where it is over."""
        self._runner.check_process()
        return self._lock.token

    def acquire(self, timeout: float | None = None, *, blocking: bool = True) -> bool:
        """Take the lock; return whether it was had within `timeout` seconds (None: those of the handle)."""
        return self._runner.wait(self._lock.acquire(timeout, blocking=blocking), self._lock.release)

    def release(self) -> None:
        """Give the lock up. NotHeld where it was not held, LockLost where it was lost meanwhile."""
        self._runner.wait(self._lock.release())

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until the lock is lost or given up, or `timeout` seconds have passed; return whether it is lost."""
        return self._runner.wait(self._lock.wait_lost(timeout))

    def __enter__(self) -> Self:
        self._runner.wait(self._lock.__aenter__(), self._lock.release)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._runner.wait(self._lock.__aexit__(kind))
        except Closed:
            if kind is None:
                raise


class Election:
    """A candidate; see `gristmill.coordination.election.Election`."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    @property
    def leads(self) -> bool:
        """Whether this candidate leads now."""
        return self._lock.held

    def run(self, on_elected: Callable[[Token], None], on_lost: Callable[[], None] | None = None) -> None:
        """Lead once: wait for the turn, call `on_elected`, and give up the lead when it returns.

        Where the lead is lost before, `on_lost` is called at once, in a thread of its own: it has to end what
        `on_elected` does, for a function can't be ended from outside. LockLost is raised when that has returned; what
        `on_elected` raises is raised.
        """
        self._lock.acquire()
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(over, on_lost), daemon=True)
        with ExitStack() as stack:
            stack.push(self._lock)
            watcher.start()
            stack.callback(watcher.join)
            stack.callback(over.set)
            on_elected(self._lock.token)

    def _watch(self, over: threading.Event, on_lost: Callable[[], None] | None) -> None:
        while not over.wait(_LOOK_SECONDS):
            if not self._lock.held:
                if on_lost is not None:
                    on_lost()
                return


class ConfigTree:
    """A tree; see `gristmill.coordination.tree.ConfigTree`."""

    def __init__(self, tree: aio.ConfigTree, runner: _Runner) -> None:
        self._tree = tree
        self._runner = runner

    @property
    def name(self) -> str:
        """The tree's name."""
        return self._tree.name

    @property
    def session_lost(self) -> bool:
        """Whether what was ephemeral goes: it could not be kept."""
        self._runner.check_process()
        return self._tree.session_lost

    @property
    def stale_since(self) -> float | None:
        """Since when, by time.monotonic, what is read may be old, for the server does not tell; None while it does."""
        self._runner.check_process()
        return self._tree.stale_since

    def get(self, path: str) -> Node | None:
        """Return a node, or None: from memory."""
        self._runner.check_process()
        return self._tree.get(path)

    def children(self, path: str = "/") -> list[str]:
        """Return the names of what is directly below a path."""
        return self._runner.call(lambda: self._tree.children(path))

    def walk(self, path: str = "/") -> list[Node]:
        """Return all nodes of a subtree by their paths."""
        return self._runner.call(lambda: self._tree.walk(path))

    def create(
        self, path: str, value: Any = b"", *, ephemeral: bool = False, sequential: bool = False
    ) -> Node:
        """Make a node; Exists where there is one."""
        return self._runner.wait(self._tree.create(path, value, ephemeral=ephemeral, sequential=sequential))

    def ensure(self, path: str, value: Any = b"") -> Node:
        """Return a node, which is made with this value where there is none."""
        return self._runner.wait(self._tree.ensure(path, value))

    def set(self, path: str, value: Any, *, version: int | None = None, token: Token | None = None) -> Node:
        """Give a node a value, under conditions; make it where there is none."""
        return self._runner.wait(self._tree.set(path, value, version=version, token=token))

    def delete(
        self, path: str, *, version: int | None = None, token: Token | None = None, recursive: bool = False
    ) -> None:
        """Delete a node, under conditions; with `recursive` all that is below it, first."""
        self._runner.wait(self._tree.delete(path, version=version, token=token, recursive=recursive))

    def watch(
        self,
        path: str = "/",
        depth: Depth | str = Depth.SUBTREE,
        *,
        initial: bool = True,
        callback: Callable[[Event | Resync], None] | None = None,
    ) -> Watch:
        """Return an iterator of what happens; with a callback, that is called with each, in a thread of its own.

        What a callback raises is logged, and the next event told.
        """
        watch = self._runner.call(lambda: self._tree.watch(path, depth, initial=initial))
        return Watch(watch, self._runner, callback)


class Watch:
    """An iterator of events, until it is closed."""

    def __init__(
        self, watch: aio.Watch, runner: _Runner, callback: Callable[[Event | Resync], None] | None
    ) -> None:
        self._watch = watch
        self._runner = runner
        if callback is not None:
            name = f"watch of {watch.path}"
            threading.Thread(target=self._tell, args=(callback,), name=name, daemon=True).start()

    def close(self) -> None:
        """Hear no more."""
        with suppress(Closed):
            self._runner.call(self._watch.close)

    def __iter__(self) -> Iterator[Event | Resync]:
        return self

    def __next__(self) -> Event | Resync:
        """Return the next event."""

        async def work() -> Event | Resync | None:
            with suppress(StopAsyncIteration):
                return await anext(self._watch)
            return None

        try:
            event = self._runner.wait(work())
        except Closed:
            event = None
        if event is None:
            raise StopIteration
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self, callback: Callable[[Event | Resync], None]) -> None:
        for event in self:
            try:
                callback(event)
            except Exception:
                log.exception("the callback of a watch of %s failed; it is called on", self._watch.path)
