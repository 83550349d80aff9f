"""Locks, elections and trees for programs with an event loop; `gristmill.coordination` has the same for others."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from gristmill.coordination.clock import Clock, boot_time
from gristmill.coordination.conditions import is_number
from gristmill.coordination.connecting import open_store
from gristmill.coordination.election import Election
from gristmill.coordination.errors import CoordinationError, closed
from gristmill.coordination.lock import Lock, Token
from gristmill.coordination.names import check_lock, check_tree
from gristmill.coordination.nodes import Event, EventKind, Node, Resync
from gristmill.coordination.port import Store
from gristmill.coordination.saying import all_said
from gristmill.coordination.tree import ConfigTree
from gristmill.coordination.watching import Depth, Watch

__all__ = [
    "Client",
    "ConfigTree",
    "Depth",
    "Election",
    "Event",
    "EventKind",
    "Lock",
    "Node",
    "Resync",
    "Token",
    "Watch",
    "connect",
]

#: seconds for which a lock or session outlives a holder that has died, at the most; and the least that may be
LEASE_SECONDS = 15
_LEAST_SECONDS = 1
#: letters of a holder's name that are shown
_SHOWN = 36


async def connect(
    url: str | None = None, *, namespace: str | None = None, context: str | None = None, identity: str = ""
) -> Client:
    """Return a client of the Valkey at `url` (redis://..., unix://...), else of a cluster.

    Without an address it is that of GRISTMILL_COORDINATION, of the cluster that the program runs in, or of the current
    kube context. `identity` is what others see as the holder of a lock, the host and process where it is not said.
    """
    return Client(await open_store(url, namespace, context), identity=identity)


class Client:
    """Makes locks, elections and trees. Close it, or use it as a context manager: then what is held is given up."""

    def __init__(self, store: Store, *, identity: str = "", clock: Clock = boot_time) -> None:
        self._store = store
        self._clock = clock
        self._identity = _identity(identity)
        self._locks: WeakSet[Lock] = WeakSet()
        self._trees: dict[str, ConfigTree] = {}
        self._opening = asyncio.Lock()
        self._closing: asyncio.Task[None] | None = None

    def lock(self, name: str, *, seconds: int = LEASE_SECONDS, timeout: float | None = None) -> Lock:
        """Return a handle of the lock of a name, which is not held yet.

        `seconds`: for how long others wait where a holder has died. `timeout`: seconds for which it is waited
        for where `acquire` does not say other ones; `async with` raises LockTimeout after them.
        """
        self._check_open()
        lock = Lock(
            self._store,
            check_lock(name),
            identity=self._identity,
            seconds=_seconds(seconds),
            clock=self._clock,
            timeout=timeout,
        )
        self._locks.add(lock)
        return lock

    def election(self, name: str, *, seconds: int = LEASE_SECONDS) -> Election:
        """Return a candidate in the election of a name."""
        return Election(self.lock(name, seconds=seconds))

    async def tree(
        self, name: str, *, seconds: int | None = None, schemas: Mapping[str, Any] | None = None
    ) -> ConfigTree:
        """Return the tree of a name, which is read now and followed; the same one each time.

        `seconds`: within which its ephemeral nodes vanish where this client dies (15). `schemas`: JSON schemas by shell
        patterns of paths. Where the tree is open already they are as they were then: others are an error.
        """
        check_tree(name)
        async with self._opening:
            self._check_open()
            tree = self._trees.get(name)
            if tree is None:
                tree = ConfigTree(
                    self._store,
                    name,
                    identity=self._identity,
                    seconds=_seconds(LEASE_SECONDS if seconds is None else seconds),
                    clock=self._clock,
                    schemas=schemas or {},
                )
                await tree.start()
                self._trees[name] = tree
            elif seconds not in (None, tree.seconds) or schemas not in (None, tree.schemas):
                raise CoordinationError(
                    f"tree {name} is open with other seconds or schemas: say them where it is opened first, or take "
                    "another client"
                )
            return tree

    async def close(self) -> None:
        """Give up what is held, and end; who waits for a lock is told Closed. What there is to say is logged then.

        It is done once, however often it is called, and in full where who waits for it is cancelled.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="closing a client")
        await asyncio.shield(self._closing)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _close(self) -> None:
        """Close each lock and tree, whatever becomes of the others; raise the first error of them."""
        try:
            locks = await asyncio.gather(*(one.close() for one in self._locks), return_exceptions=True)
            async with self._opening:
                trees = await asyncio.gather(
                    *(one.close() for one in self._trees.values()), return_exceptions=True
                )
        finally:
            try:
                await self._store.close()
            finally:
                await all_said()
        for error in filter(None, (*locks, *trees)):
            raise error

    def _check_open(self) -> None:
        if self._closing is not None:
            raise closed()


def _seconds(seconds: int) -> int:
    if not is_number(seconds) or seconds < _LEAST_SECONDS:
        raise CoordinationError(
            f"seconds: {seconds!r} is no whole number of seconds from {_LEAST_SECONDS} on"
        )
    return seconds


def _identity(given: str) -> str:
    """Return what a holder is called: unlike all others, and of letters that a label of a waiter may have.

    Of a long name the end is kept, which tells pods and processes apart.
    """
    name = given or f"{socket.gethostname()}-{os.getpid()}"
    clean = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)
    return f"{clean[-_SHOWN:].strip('-') or 'x'}-{secrets.token_hex(3)}"
