"""A volume, and those who do something to it in turns: what they were told holds, whoever comes when."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from typing import Any, ClassVar

from fsspec.implementations.memory import MemoryFileSystem
from tests.volumes.builders import content, findings
from tests.volumes.model_filer import ModelFiler
from tests.volumes.schedules import Actor, Stepped

from gristmill.volumes.collection import collect
from gristmill.volumes.errors import NotThere
from gristmill.volumes.places import open_store
from gristmill.volumes.port import Backend
from gristmill.volumes.records import Record
from gristmill.volumes.store import ContentStore

HOUR = 3600.0
#: content that names share
SAME = content(4000)


def put_then_name(store: ContentStore) -> None:
    store.name("named", store.put(SAME).sha256)


def name_what_is_there(store: ContentStore) -> None:
    store.name("named", hashlib.sha256(SAME).hexdigest())


#: what writers do, each for a name of its own, so that what it was told must hold
WRITERS: dict[str, Callable[[ContentStore], Any]] = {
    "saved": lambda store: store.save("saved", SAME),
    "named": put_then_name,
    "named again": name_what_is_there,
    "copied": lambda store: store.copy("old", "copied"),
}
#: the names that they write
WRITTEN = {"named again": "named"}


class Scene:
    """A volume with old content, a name for it or not, and those who do something to it in turns."""

    #: the one that is being played
    now: ClassVar[Scene]

    def __init__(self, grace: float, *, named: bool, storage: str, damaged: str = "") -> None:
        """`storage` is how it moves: `at once`, `copying` as an object store does, or as a `filer`.

        `damaged` is where the content of a filer is so: in its `place`, or `aside`, since it was put again.
        """
        Scene.now = self
        self._elapsed = 0.0
        self.open = self._filer() if storage == "filer" else self._memory(moves_at_once=storage == "at once")
        self.store = ContentStore(self.open(lambda: None))
        self.store.put(SAME)
        if named:
            self.store.save("old", SAME)
        if damaged:
            for chunk in self.filer.chunks:
                self.filer.chunks[chunk] = self.filer.chunks[chunk].replace(SAME, SAME[::-1])
        if damaged == "aside":
            self.store.put(SAME)
        self._grace = grace
        #: all that is there before is older than the grace
        self._elapsed = 2 * grace
        self._acknowledged: dict[str, Actor] = {}
        self.actors: list[Actor] = []

    def write(self, name: str) -> Actor:
        actor = self._begin(WRITERS[name])
        self._acknowledged[WRITTEN.get(name, name)] = actor
        return actor

    def save(self, name: str, *, breaks: int = 0) -> Actor:
        """Write a name; `breaks` is the move of a filer that breaks off half done."""
        actor = self._begin(lambda store: store.save(name, SAME))
        calls: Any = getattr(actor.store.backend, "_calls", None)
        calls.breaks = breaks
        self._acknowledged[name] = actor
        return actor

    def collect(self, *, breaks: int = 0) -> Actor:
        actor = self._begin(lambda store: collect(store.backend, self._grace))
        if breaks:
            calls: Any = getattr(actor.store.backend, "_calls", None)
            calls.breaks = breaks
        return actor

    def forget(self, name: str) -> None:
        """Remove a name."""
        self.store.remove(name)
        del self._acknowledged[name]

    def pass_time(self) -> None:
        self._elapsed += 2 * self._grace

    def step(self, actor: Actor, steps: int = 1000) -> None:
        """Let an actor go so many steps; what was acknowledged is read after each of them."""
        for _ in range(steps):
            if actor.is_over:
                return
            actor.step()
            self.check()

    def end_moves(self) -> None:
        """Let what is being moved by a filer be moved."""
        for actor in self.actors:
            calls = getattr(actor.store.backend, "_calls", None)
            while calls is not None and calls.is_moving and not actor.is_over:
                actor.step()

    def check(self) -> None:
        for name, actor in self._acknowledged.items():
            if actor.has_succeeded:
                assert self.store.open(name).read() == SAME

    def end(self) -> None:
        """Let all come to their ends; then nothing is damaged, and nothing is left over."""
        for actor in self.actors:
            self.step(actor)
            if isinstance(actor.error, Exception):
                assert isinstance(actor.error, NotThere) or "write it again" in str(actor.error), actor.error
        collect(self.store.backend, 0)
        self.check()
        failed = {name for name, actor in self._acknowledged.items() if not actor.has_succeeded}
        assert {finding.path for finding in findings(self.store)} <= failed
        named = {record.sha256 for _, record in self.store.names.read_all() if isinstance(record, Record)}
        assert {entry.name for _, entry in self.store.backend.walk("content")} <= named
        MemoryFileSystem.store.clear()

    def _begin(self, deed: Callable[[ContentStore], Any]) -> Actor:
        actor = Actor(self.open, deed)
        self.actors.append(actor)
        return actor

    def _clock(self) -> float:
        return time.time() + self._elapsed

    def _filer(self) -> Callable[[Callable[[], None]], Backend]:
        self.filer = ModelFiler(self._clock)
        return self.filer.backend

    def _memory(self, *, moves_at_once: bool) -> Callable[[Callable[[], None]], Backend]:
        backend = open_store(f"memory://schedules/{os.urandom(8).hex()}").backend
        return lambda wait: Stepped(backend, self._clock, wait, moves_at_once=moves_at_once)


def lengths(grace: float, writer: str, named: bool, storage: str) -> tuple[int, int]:
    """Return how many calls a writer and a collector make at most."""
    counts = []
    for begin in (lambda scene: scene.write(writer), Scene.collect):
        scene = Scene(grace, named=named, storage=storage)
        actor = begin(scene)
        count = 0
        while not actor.is_over:
            actor.step()
            count += 1
        counts.append(count + 3)  # (who finds something set aside takes a few more)
    return counts[0], counts[1]
