"""A tree of small values that many read and few change: read from memory, changed node by node, watched in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from gristmill.coordination.clock import Clock
from gristmill.coordination.conditions import check_conditions, check_fence, check_version, number_of
from gristmill.coordination.errors import (
    Conflict,
    Exists,
    Missing,
    NotEmpty,
    Refused,
    closed,
)
from gristmill.coordination.lock import Token
from gristmill.coordination.names import check_path, check_text, is_below, node_name, parent_of
from gristmill.coordination.nodes import (
    COUNTER,
    DIGITS,
    FENCE_LOCK,
    FENCE_NUMBER,
    PATH,
    Event,
    EventKind,
    Node,
    Resync,
    bytes_of,
    node_of,
    number_at_end,
)
from gristmill.coordination.port import Change, Kind, Owner, Record, Scope, Store
from gristmill.coordination.saying import say
from gristmill.coordination.schemas import Schemas
from gristmill.coordination.session import Reaper, Session
from gristmill.coordination.tasks import end
from gristmill.coordination.view import Gap, View
from gristmill.coordination.watching import Callback, Depth, Watch

log = logging.getLogger(__name__)


class ConfigTree:
    """A tree as one client sees it. Paths are like /db/host; a node's parents need not be there."""

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        identity: str,
        seconds: int,
        clock: Clock,
        schemas: Mapping[str, Any],
    ) -> None:
        self.name = name
        #: as they were given
        self.seconds = seconds
        self.schemas = schemas
        #: the session of what is ephemeral
        self.session = Session(store, name, identity, seconds, clock)
        self._store = store
        self._checks = Schemas(schemas)
        self._view = View(store, Scope(Kind.NODE, name))
        self._view.listen(self._hear)
        self._watches: list[Watch] = []
        self._reaper = Reaper(store, Scope(Kind.SESSION, name), clock)
        self._reaping: asyncio.Task[None] | None = None
        self._closed = False
        #: objects of this tree that are no nodes of it, which was said
        self._strange: set[str] = set()

    async def start(self) -> None:
        """Read the tree, and follow it."""
        await self._view.start()
        self._reaping = asyncio.create_task(
            self._reaper.run(self._has_ephemeral), name=f"sessions of {self.name}"
        )

    async def close(self) -> None:
        """Follow it no more; what was ephemeral goes. From then on each call raises Closed."""
        self._closed = True
        for watch in list(self._watches):
            watch.close()
        await end(self._reaping)
        await self._view.stop()
        await self.session.close()

    @property
    def session_lost(self) -> bool:
        """Whether what was ephemeral goes: it could not be kept. What is made from now on is of another session."""
        return self.session.lost.is_set()

    @property
    def stale_since(self) -> float | None:
        """Since when, by time.monotonic, what is read may be old, for the server does not tell; None while it does."""
        return self._view.stale_since

    # -- reading: from memory

    def get(self, path: str) -> Node | None:
        """Return a node, or None."""
        record = self._known(check_path(path))
        return node_of(record) if record is not None else None

    def children(self, path: str = "/") -> list[str]:
        """Return the names of what is directly below a path, also where that leads on to others only."""
        self._check_open()
        top = check_path(path).rstrip("/") + "/"
        below = (node.path for node in self._nodes(self._view.all()))
        return sorted(
            {one.removeprefix(top).partition("/")[0] for one in below if one.startswith(top) and one != top}
        )

    def walk(self, path: str = "/") -> list[Node]:
        """Return all nodes of a subtree, its top included, by their paths."""
        self._check_open()
        check_path(path)
        return sorted(
            (node for node in self._nodes(self._view.all()) if is_below(node.path, path)),
            key=lambda node: node.path,
        )

    def watch(
        self,
        path: str = "/",
        depth: Depth | str = Depth.SUBTREE,
        *,
        initial: bool = True,
        callback: Callback | None = None,
    ) -> Watch:
        """Return an iterator of what happens from now on, and first (`initial`) of what there is, as created.

        It tells of nodes: not of a child that is none, and only leads on to others. With a callback, that is called
        with each instead, in a task of its own, and what it returns awaited. What it raises is logged, and the next
        event told.
        """

        def current() -> tuple[list[Node], int]:
            return self._nodes(self._view.seen()), self._view.revision

        self._check_open()
        watch = Watch(check_path(path), Depth(depth), current, initial=initial, stop=self._watches.remove)
        self._watches.append(watch)
        if callback is not None:
            watch.tell(callback)
        return watch

    # -- writing

    async def create(
        self, path: str, value: Any = b"", *, ephemeral: bool = False, sequential: bool = False
    ) -> Node:
        """Make a node; Exists where there is one.

        `ephemeral`: it goes with this client. `sequential`: a number of ten digits, higher than all before below the
        same parent, is put to the end of its path.
        """
        self._check_open()
        check_path(check_text("path", path) + "0" * DIGITS if sequential else path)
        while True:
            number = f"{await self._count(parent_of(path + '0') or '/'):0{DIGITS}}" if sequential else ""
            data = self._checked(path + number, value)
            owner = await self.session.owner() if ephemeral else None
            try:
                return self._wrote(await self._make(path + number, data, {}, owner))
            except Exists:
                if not sequential:
                    raise

    async def ensure(self, path: str, value: Any = b"") -> Node:
        """Return a node, which is made with this value where there is none."""
        while (node := self.get(path)) is None:
            try:
                return await self.create(path, value)
            except Exists:
                record = await self._read(path)
                if record is not None:
                    return self._wrote(record)
        return node

    async def set(
        self, path: str, value: Any, *, version: int | None = None, token: Token | None = None
    ) -> Node:
        """Give a node a value; make it where there is none.

        `version`: only where it is at this version (0: not there); Conflict else. `token`: only where no later holder
        of the lock has written to it; Fenced else.
        """
        check_conditions(version, token)
        data = self._checked(check_path(path), value)
        name = node_name(self.name, path)
        fence = {} if token is None else {FENCE_LOCK: token.lock, FENCE_NUMBER: str(token.number)}
        by_revision = version is not None or token is not None
        known = self._known(path)
        while True:
            current = known.revision if known is not None else 0
            if version in (None, current):
                check_fence(path, known, token)
                with suppress(Exists, Conflict):  # (it is not as it was known here)
                    if known is None:
                        return self._wrote(await self._make(path, data, fence))
                    revision, where = current if by_revision else None, {PATH: path}
                    with suppress(Missing):  # (it is to be made anew)
                        return self._wrote(
                            await self._store.update(
                                Kind.NODE, name, fence, value=data, where=where, revision=revision
                            )
                        )
            known = await self._read(path)
            if known is not None:
                self._view.wrote(known)
            check_version(path, known, version)

    async def delete(
        self, path: str, *, version: int | None = None, token: Token | None = None, recursive: bool = False
    ) -> None:
        """Delete a node, under the conditions of `set`; with `recursive` all that is below it, first.

        NotEmpty where something is below it, as far as that is known here: nodes need no parents, and what another has
        made a moment ago is not seen yet.

        Nothing is deleted where the node is not at `version`, or a later holder of the lock has written to any of them:
        for the latter the tree is read anew.
        """
        check_conditions(version, token)
        below = [node for node in self.walk(path) if node.path != path]
        if below and not recursive:
            raise NotEmpty(
                f"{path} has {len(below)} nodes below it: delete them first, or pass recursive=True"
            )
        if below:
            check_version(path, await self._read(path), version)
        if recursive:  # (also where nothing below is known here yet)
            await self._check_fences(path, token)
        for node in reversed(below):
            with suppress(Missing):
                await self._delete(node.path, None, token)
        try:
            await self._delete(path, version, token)
        except Missing:
            if not below:
                raise

    # -- the parts

    async def _check_fences(self, path: str, token: Token | None) -> None:
        """Raise Fenced where a token may not write to all of a subtree, as it is now: what is known here may be old."""
        if token is not None:
            records, _ = await self._store.list(Scope(Kind.NODE, self.name))
            for record in records:
                if self._is_node(record) and is_below(record.fields[PATH], path):
                    check_fence(record.fields[PATH], record, token)

    async def _delete(self, path: str, version: int | None, token: Token | None) -> None:
        while True:
            record = await self._read(path)
            if record is None:
                raise Missing(f"{path} is not there")
            check_version(path, record, version)
            check_fence(path, record, token)
            try:
                await self._store.delete(Kind.NODE, record.name, revision=record.revision, uid=record.uid)
            except (Conflict, Missing):  # (it is not as it was read)
                continue
            self._view.deleted(record)
            return

    async def _make(
        self, path: str, value: bytes, fields: Mapping[str, str], owner: Owner | None = None
    ) -> Record:
        self._check_open()
        record = Record(
            Kind.NODE, node_name(self.name, path), self.name, {PATH: path, **fields}, value, owner=owner
        )
        try:
            return await self._store.create(record)
        except Exists:
            await self._read(path)
            raise Exists(f"{path} is there already") from None

    async def _count(self, parent: str) -> int:
        """Return the next number of a parent, which is made where there is none.

        It is higher than those of the children, too, which an import may have brought.
        """
        await self.ensure(parent)
        last = max(number_at_end(path) for path in ("", *self._paths_in(parent)))
        name = node_name(self.name, parent)
        record = self._known(parent)
        while True:
            before = record.fields.get(COUNTER) if record is not None else None
            number = max(number_of(parent, COUNTER, before), last) + 1
            if number >= 10**DIGITS:
                raise Refused(
                    f"{parent}: there is no number of {DIGITS} digits any more for a sequential node, for one of its "
                    f"children has the last at its end, or its counter: delete {parent} and what is below it, or take "
                    "another parent"
                )
            try:
                found = await self._store.update(
                    Kind.NODE, name, {COUNTER: str(number)}, where={PATH: parent, COUNTER: before}
                )
            except Conflict:
                record = await self._read(parent)
            except Missing:
                record = await self._make_again(parent)
            else:
                self._view.wrote(found)
                return number

    async def _make_again(self, path: str) -> Record | None:
        """Make a node that is deleted, also where that is not known here yet; return it as it is then."""
        try:
            record: Record | None = await self._make(path, self._checked(path, b""), {})
        except Exists:
            record = await self._read(path)
        if record is not None:
            self._view.wrote(record)
        return record

    def _paths_in(self, parent: str) -> Iterator[str]:
        """Yield the paths of the nodes directly below a path."""
        top = parent.rstrip("/") + "/"
        for record in self._view.all().values():
            path = record.fields.get(PATH, "")
            if path.startswith(top) and "/" not in path[len(top) :]:
                yield path

    def _known(self, path: str) -> Record | None:
        """Return a node's record as it is known here, or None."""
        self._check_open()
        record = self._view.get(node_name(self.name, path))
        return record if record is not None and record.fields.get(PATH) == path else None

    def _check_open(self) -> None:
        if self._closed:
            raise closed()

    async def _read(self, path: str) -> Record | None:
        """Return a node's record as it is now, or None. Refused where its name is that of something else."""
        self._check_open()
        name = node_name(self.name, path)
        record = await self._store.get(Kind.NODE, name)
        if record is not None and (record.group != self.name or record.fields.get(PATH) != path):
            raise Refused(
                f"{path}: ConfigMap {name} has the name of this node, and is none of tree {self.name}: rename or "
                f"delete it, or use another tree; if it is to be the node, give it the tree in its label and {path} "
                "in its annotation (docs/coordination.md, The tree)"
            )
        return record

    def _checked(self, path: str, value: Any) -> bytes:
        data = bytes_of(path, value)
        self._checks.check(path, data)
        return data

    def _wrote(self, record: Record) -> Node:
        self._view.wrote(record)
        return node_of(record)

    def _nodes(self, records: Mapping[str, Record]) -> list[Node]:
        return [node_of(record) for record in records.values() if self._is_node(record)]

    def _is_node(self, record: Record) -> bool:
        """Whether a record is a node, and has the name that it must have: others would be two of one path."""
        path = record.fields.get(PATH, "")
        right = bool(path) and node_name(self.name, path) == record.name
        if not right and record.name not in self._strange:
            self._strange.add(record.name)
            remedy = f"name it {node_name(self.name, path)}" if path else "say its path in the annotation"
            say(log, logging.WARNING, "tree %s: %s is no node of it; %s", self.name, record.name, remedy)
        return right

    def _has_ephemeral(self) -> bool:
        return any(record.owner is not None for record in self._view.all().values())

    def _hear(self, change: Change | Gap, before: Record | None) -> None:
        if isinstance(change, Gap):
            event: Event | Resync = Resync(change.revision)
        elif (found := self._event(change, before)) is None:
            return
        else:
            event = found
        for watch in list(self._watches):
            watch.hear(event)

    def _event(self, change: Change, before: Record | None) -> Event | None:
        """Return what a change of a record is to the tree: one that has another path now is no node any more."""
        record = change.record
        known = node_of(before) if before is not None and self._is_node(before) else None
        if record is None:
            return None
        if self._is_node(record):
            if change.deleted:
                return Event(EventKind.DELETED, node_of(record))
            if record.owner is not None:
                self._reaper.meet(record.owner)
            return Event(EventKind.CHANGED if known else EventKind.CREATED, node_of(record))
        return Event(EventKind.DELETED, known._replace(version=change.revision)) if known else None
