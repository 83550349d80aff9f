"""The same for programs without an event loop: a loop in a thread of its own does the work, and is waited for here.

Nothing is implemented twice: each call is made of the one in `aio`.
"""

from __future__ import annotations

import _thread
import asyncio
import atexit
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Self

from gristmill.coordination import aio
from gristmill.coordination.errors import Closed, threadless
from gristmill.coordination.leading import Lead, Watcher
from gristmill.coordination.lock import Token
from gristmill.coordination.nodes import Event, Node, Resync
from gristmill.coordination.runner import Runner
from gristmill.coordination.watching import Depth

log = logging.getLogger(__name__)

#: seconds for which the server is waited for where the end of a client is interrupted
_END_SECONDS = 1.0


def connect(
    url: str | None = None, *, namespace: str | None = None, context: str | None = None, identity: str = ""
) -> Client:
    """Return a client, as `aio.connect` does."""
    runner = Runner()
    try:
        client = runner.wait(aio.connect(url, namespace=namespace, context=context, identity=identity))
    except BaseException:
        runner.stop()
        raise
    return Client(client, runner)


class Client:
    """Makes locks, elections and trees. When it is closed, what is held is given up; `with` does that for sure.

    When the program ends it is closed, too, but then no connection can be made to a host that has to be looked up.
    """

    def __init__(self, client: aio.Client, runner: Runner) -> None:
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
        """Give up what is held, and end; also where that is interrupted."""
        try:
            with suppress(Closed):
                self._runner.wait(self._close(), anyway=True)
        finally:
            self._runner.stop()
            atexit.unregister(self.close)

    async def _close(self) -> None:
        """Close the client: go on for a moment where who waits for it is interrupted, for then the loop ends."""
        try:
            await self._client.close()
        except asyncio.CancelledError:
            with suppress(Exception):
                async with asyncio.timeout(_END_SECONDS):
                    await self._client.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Lock:
    """One holder's handle of a lock; see `gristmill.coordination.lock.Lock`."""

    def __init__(self, lock: aio.Lock, runner: Runner) -> None:
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
        self._runner.wait(self._lock.release(), anyway=True)

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until the lock is lost or given up, or `timeout` seconds have passed; return whether it is lost."""
        return self._runner.wait(self._lock.wait_lost(timeout))

    def __enter__(self) -> Self:
        self._runner.wait(self._lock.__aenter__(), self._lock.release)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._runner.wait(self._lock.__aexit__(kind), anyway=True)
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
        watcher = Watcher(self._lock, on_lost)
        with Lead(self._lock, watcher.over) as lead:
            lead.begin()
            try:
                # (what interrupts the start of a Thread breaks its locks)
                try:
                    _thread.start_new_thread(watcher.run, ())
                except RuntimeError as error:
                    raise threadless(error) from error
                on_elected(self._lock.token)
            finally:
                watcher.end()


class ConfigTree:
    """A tree; see `gristmill.coordination.tree.ConfigTree`."""

    def __init__(self, tree: aio.ConfigTree, runner: Runner) -> None:
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
        self, watch: aio.Watch, runner: Runner, callback: Callable[[Event | Resync], None] | None
    ) -> None:
        self._watch = watch
        self._runner = runner
        if callback is not None:
            name = f"watch of {watch.path}"
            try:
                threading.Thread(target=self._tell, args=(callback,), name=name, daemon=True).start()
            except RuntimeError as error:
                self.close()
                raise threadless(error) from error

    def close(self) -> None:
        """Hear no more."""
        with suppress(Closed):
            self._runner.call(self._watch.close)

    def __iter__(self) -> Iterator[Event | Resync]:
        return self

    def __next__(self) -> Event | Resync:
        """Return the next event. Closed in a process that was forked from the watch's."""
        self._runner.check_process()
        told: list[Event | Resync] = []

        async def work() -> Event | Resync | None:
            with suppress(StopAsyncIteration):
                told.append(await anext(self._watch))
            return told[0] if told else None

        async def undo() -> None:
            self._watch.put_back(told[0])

        try:
            event = self._runner.wait(work(), undo)
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
