"""Writers and collectors on one storage, taking turns call by call as a test says, and killed between two calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from gristmill.volumes.blocks import Bytes
from gristmill.volumes.port import Backend, Draft, Entry
from gristmill.volumes.store import ContentStore


class Killed(BaseException):
    """The actor is dead: it does nothing any more, and cleans up nothing."""


class Actor:
    """Runs a deed in a thread that stops before each call to the storage until it is its turn."""

    def __init__(
        self, storage: Callable[[Callable[[], None]], Backend], deed: Callable[[ContentStore], Any]
    ) -> None:
        """`storage` returns one that calls a function before each step."""
        self.store = ContentStore(storage(self._wait))
        self.error: BaseException | None = None
        self.is_over = False
        #: how many it has made
        self.steps = 0
        self._is_dead = False
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(deed,), daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def step(self) -> None:
        """Let it make one call."""
        self.steps += 1
        self._go.release()
        self._stopped.acquire()

    def kill(self) -> None:
        """Let it make none any more."""
        self._is_dead = True
        while not self.is_over:
            self.step()

    @property
    def has_succeeded(self) -> bool:
        return self.is_over and self.error is None

    def _run(self, deed: Callable[[ContentStore], Any]) -> None:
        try:
            deed(self.store)
        except BaseException as error:
            self.error = error
        self.is_over = True
        self._stopped.release()

    def _wait(self) -> None:
        self._stopped.release()
        self._go.acquire()
        if self._is_dead:
            raise Killed


class Stepped:
    """A storage that waits before each call; moving is two, where it is copying and removing."""

    move_seconds = 0.0

    def __init__(
        self, backend: Backend, clock: Callable[[], float], wait: Callable[[], None], *, moves_at_once: bool
    ) -> None:
        self._moves_at_once = moves_at_once
        self._backend = backend
        self._clock = clock
        self._wait = wait
        self.url = backend.url

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        self._wait()
        return self._backend.read(key, start, stop)

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        found = []
        for key in keys:
            self._wait()
            found += self._backend.read_many([key])
        return found

    def copies(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        self._wait()
        return self._backend.copies(key, start, stop)

    def unreached(self) -> Sequence[str]:
        return self._backend.unreached()

    def write(self, key: str, data: bytes, *, new: bool = False) -> None:
        self._wait()
        self._backend.write(key, data, new=new)

    def draft(self) -> Draft:
        self._wait()
        return _SteppedDraft(self._backend.draft(), self._wait)

    def move(self, key: str, to: str) -> bool:
        self._wait()
        try:
            data = self._backend.read(key)
        except FileNotFoundError:
            return False
        self._backend.write(to, data)
        if not self._moves_at_once:
            self._wait()
        self._backend.delete(key)
        return True

    def stat(self, key: str) -> Entry | None:
        self._wait()
        return self._backend.stat(key)

    def list(self, folder: str, prefix: str = "") -> list[Entry]:
        self._wait()
        return self._backend.list(folder, prefix)

    def walk(self, folder: str) -> Iterator[tuple[str, Entry]]:
        self._wait()
        return iter(list(self._backend.walk(folder)))

    def shares(self, key: str, *others: str) -> bool:
        return self._backend.shares(key, *others)

    def delete(self, key: str, *, leave_bytes: bool = False) -> bool:
        self._wait()
        return self._backend.delete(key, leave_bytes=leave_bytes)

    def exclusive(self, key: str) -> AbstractContextManager[None]:
        return self._backend.exclusive(key)

    def now(self) -> float:
        return self._clock()


class _SteppedDraft:
    def __init__(self, draft: Draft, wait: Callable[[], None]) -> None:
        self._draft = draft
        self._wait = wait

    def write(self, data: Bytes) -> None:
        self._wait()
        self._draft.write(data)

    def publish(self, key: str) -> None:
        self._wait()
        self._draft.publish(key)

    def discard(self) -> None:
        self._wait()
        self._draft.discard()
