"""What no name points at is collected, and nothing else is: whoever does what in between, or is killed."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from tests.volumes.builders import MIB, content, findings, flip, objects
from tests.volumes.schedules import Actor

from gristmill.volumes.collection import collect
from gristmill.volumes.errors import NotThere, StorageFailed
from gristmill.volumes.local_backend import LocalBackend
from gristmill.volumes.places import open_store
from gristmill.volumes.records import Record
from gristmill.volumes.store import ContentStore

HOUR = 3600.0
#: content that names share
SAME = content(4000)


def test_content_without_a_name_is_removed(store: ContentStore) -> None:
    store.save("kept", content(5000))
    store.save("gone", content(6000))
    store.put(content(9 * MIB))
    store.remove("gone")
    done = collect(store.backend, 0)
    assert (done.aside, done.removed, done.restored) == (2, 2, 0)
    assert done.removed_bytes > 9 * MIB
    assert len(list(store.backend.walk("content"))) == 1
    assert list(store.backend.walk("trash")) == []
    assert store.open("kept").read() == content(5000)
    assert collect(store.backend, 0).removed == 0


def test_young_content_is_left_alone(store: ContentStore) -> None:
    sha256 = store.put(content(5000)).sha256
    assert collect(store.backend, HOUR).aside == 0
    store.name("late", sha256)
    assert store.open("late").read() == content(5000)


def aged(root: Path, seconds: float) -> None:
    """Make all that is in a volume older."""
    for path in root.rglob("*"):
        if path.is_file():
            status = path.stat()
            os.utime(path, (status.st_atime - seconds, status.st_mtime - seconds))


def test_set_aside_first_removed_later(folder: ContentStore, tmp_path: Path) -> None:
    root = tmp_path / "volume"
    sha256 = folder.put(content(5000)).sha256
    aged(root, HOUR + 1)
    done = collect(folder.backend, HOUR)
    assert (done.aside, done.removed) == (1, 0)
    assert objects(root, "content") == []
    with folder.open_content(sha256) as file:  # (who has begun to read it goes on)
        assert file.read() == content(5000)
    assert collect(folder.backend, HOUR).removed == 0
    (aside,) = (root / "trash").iterdir()
    since, _, rest = aside.name.partition("-")
    aside.rename(aside.with_name(f"{int(since) - HOUR - 1:012.0f}-{rest}"))
    assert collect(folder.backend, HOUR).removed == 1
    assert list((root / "trash").iterdir()) == []


def test_naming_what_is_set_aside_brings_it_back(folder: ContentStore, tmp_path: Path) -> None:
    sha256 = folder.put(content(5000)).sha256
    aged(tmp_path / "volume", HOUR + 1)
    assert collect(folder.backend, HOUR).aside == 1
    folder.name("file", sha256)
    assert collect(folder.backend, 0).aside == 0
    assert len(objects(tmp_path / "volume", "content")) == 1
    assert folder.open("file").read() == content(5000)


def test_a_collection_puts_back_what_has_a_name_again(folder: ContentStore, tmp_path: Path) -> None:
    """(A collector was killed between setting aside and looking at the names.)"""
    folder.save("file", content(5000))
    (path,) = objects(tmp_path / "volume", "content")
    path.rename(tmp_path / f"volume/trash/000000000001-beef-{path.name}")
    assert folder.open("file").read() == content(5000)
    assert collect(folder.backend, 0).restored == 1
    assert path.exists()
    assert findings(folder) == []


def test_old_drafts_are_removed(folder: ContentStore, tmp_path: Path) -> None:
    draft = folder.backend.draft()
    draft.write(b"of one who was killed")
    assert collect(folder.backend, HOUR).drafts == 0
    aged(tmp_path / "volume", HOUR + 1)
    assert collect(folder.backend, HOUR).drafts == 1
    with pytest.raises(StorageFailed, match="write it again"):
        draft.publish("content/00/0")


def test_clocks_do_not_count(folder: ContentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.put(content(5000))
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert collect(folder.backend, HOUR).aside == 0


def test_nothing_is_collected_while_a_name_is_damaged(folder: ContentStore, tmp_path: Path) -> None:
    folder.save("good", content(5000))
    folder.save("bad name", content(6000))
    folder.put(content(7000))
    flip(tmp_path / "volume/names/bad name", 20)
    with pytest.raises(StorageFailed, match=r"nothing is collected.*bad name"):
        collect(folder.backend, 0)
    assert len(objects(tmp_path / "volume", "content")) == 3
    folder.remove("bad name")
    assert collect(folder.backend, 0).removed == 2


class _Late(LocalBackend):
    """A writer's storage, on which something happens just before or after it writes a name."""

    before: Callable[[], Any] | None = None
    after: Callable[[], Any] | None = None

    def write(self, key: str, data: bytes, *, new: bool = False) -> None:
        before = after = None
        if key.startswith("names/"):
            before, after, self.before, self.after = self.before, self.after, None, None
        if before is not None:
            before()
        super().write(key, data, new=new)
        if after is not None:
            after()


@pytest.mark.parametrize("old", [None, b"inline", content(5000)], ids=["none", "inline", "content"])
@pytest.mark.parametrize("moment", ["before it writes", "while it writes"])
def test_a_writer_that_comes_too_late_leaves_the_old(tmp_path: Path, old: bytes | None, moment: str) -> None:
    backend = _Late(str(tmp_path / "volume"))
    store = ContentStore(backend)
    if old is not None:
        store.save("file", old)
    if moment == "before it writes":
        sha256 = store.put(content(6000)).sha256
        late = Record(6000, sha256)
        collect(backend, 0)
        with pytest.raises(NotThere):
            store.names.point("file", late)
        assert objects(tmp_path / "volume", "names") == (
            [] if old is None else [tmp_path / "volume/names/file"]
        )
    else:
        backend.before = lambda: collect(LocalBackend(backend.url), 0)
        with pytest.raises(NotThere):
            store.save("file", content(6000))
    if old is None:
        assert list(store.walk()) == []
    else:
        assert store.open("file").read() == old
    assert findings(store) == []


def test_what_a_late_writer_puts_back_is_not_over_a_third(tmp_path: Path) -> None:
    backend = _Late(str(tmp_path / "volume"))
    store, other = ContentStore(backend), ContentStore(LocalBackend(backend.url))
    store.save("file", content(5000))
    backend.before = lambda: collect(other.backend, 0)
    backend.after = lambda: other.save("file", content(7000))
    with pytest.raises(NotThere):
        store.save("file", content(6000))
    assert store.open("file").read() == content(7000)


def test_a_copy_of_what_is_gone_leaves_its_target(folder: ContentStore, tmp_path: Path) -> None:
    folder.save("bad", content(5000))
    (path,) = objects(tmp_path / "volume", "content")
    folder.save("good", content(6000))
    path.unlink()
    with pytest.raises(NotThere):
        folder.copy("bad", "good")
    with pytest.raises(NotThere):
        folder.copy("bad", "new", new=True)
    assert folder.open("good").read() == content(6000)
    assert sorted(file.path for file in folder.walk()) == ["bad", "good"]


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

    def __init__(self, grace: float, *, named: bool, moves_at_once: bool = False) -> None:
        self.store = open_store(f"memory://schedules/{os.urandom(8).hex()}")
        self.store.put(SAME)
        if named:
            self.store.save("old", SAME)
        self._grace = grace
        self._moves_at_once = moves_at_once
        #: all that is there before is older than the grace
        self._elapsed = 2 * grace
        self._acknowledged: dict[str, Actor] = {}
        self.actors: list[Actor] = []

    def write(self, name: str) -> Actor:
        actor = self._begin(WRITERS[name])
        self._acknowledged[WRITTEN.get(name, name)] = actor
        return actor

    def collect(self) -> Actor:
        return self._begin(lambda store: collect(store.backend, self._grace))

    def pass_time(self) -> None:
        self._elapsed += 2 * self._grace

    def step(self, actor: Actor, steps: int = 1000) -> None:
        """Let an actor go so many steps; what was acknowledged is read after each of them."""
        for _ in range(steps):
            if actor.is_over:
                return
            actor.step()
            self.check()

    def check(self) -> None:
        for name, actor in self._acknowledged.items():
            if actor.has_succeeded:
                assert self.store.open(name).read() == SAME

    def end(self) -> None:
        """Let all come to their ends; then nothing is damaged, and nothing is left over."""
        for actor in self.actors:
            self.step(actor)
            if isinstance(actor.error, Exception):
                assert isinstance(actor.error, NotThere), actor.error
        collect(self.store.backend, 0)
        self.check()
        failed = {name for name, actor in self._acknowledged.items() if not actor.has_succeeded}
        assert {finding.path for finding in findings(self.store)} <= failed
        named = {record.sha256 for _, record in self.store.names.read_all() if isinstance(record, Record)}
        assert {entry.name for _, entry in self.store.backend.walk("content")} <= named
        MemoryFileSystem.store.clear()

    def _begin(self, deed: Callable[[ContentStore], Any]) -> Actor:
        actor = Actor(
            self.store.backend,
            lambda: time.time() + self._elapsed,
            deed,
            moves_at_once=self._moves_at_once,
        )
        self.actors.append(actor)
        return actor


def lengths(grace: float, writer: str, named: bool) -> tuple[int, int]:
    """Return how many calls a writer and a collector make at most."""
    counts = []
    for begin in (lambda scene: scene.write(writer), Scene.collect):
        scene = Scene(grace, named=named)
        actor = begin(scene)
        count = 0
        while not actor.is_over:
            actor.step()
            count += 1
        counts.append(count + 3)  # (who finds something set aside takes a few more)
    return counts[0], counts[1]


@pytest.mark.parametrize("grace", [0.0, HOUR])
@pytest.mark.parametrize("writer", WRITERS)
def test_no_schedule_takes_content_from_a_name(grace: float, writer: str) -> None:
    """A writer goes any number of steps, a collector any number, then either ends, or is killed, first."""
    is_copy = writer == "copied"
    writer_steps, collector_steps = lengths(grace, writer, is_copy)
    for before in range(writer_steps):
        for between in range(collector_steps):
            for last in ("collector", "writer", "killed collector", "killed writer"):
                scene = Scene(grace, named=is_copy)
                writing = scene.write(writer)
                scene.step(writing, before)
                if is_copy:  # (so that only the copy keeps it)
                    scene.store.remove("old")
                collecting = scene.collect()
                scene.step(collecting, between)
                if last.startswith("killed"):
                    (collecting if last == "killed collector" else writing).kill()
                scene.pass_time()
                first, second = (collecting, writing) if last == "writer" else (writing, collecting)
                scene.step(first)
                scene.step(second)
                scene.end()


@pytest.mark.parametrize(("grace", "moves_at_once"), [(0.0, True), (HOUR, False)])
@pytest.mark.parametrize("writer", WRITERS)
def test_no_schedule_of_two_collectors_does(
    writer: str, grace: float, moves_at_once: bool, sampled: random.Random
) -> None:
    """The second collector comes between the steps of the first; the writer ends in between, or after both."""
    is_copy = writer == "copied"
    writer_steps, collector_steps = lengths(grace, writer, is_copy)
    schedules = itertools.product(
        range(writer_steps), range(collector_steps), range(collector_steps), (0, 1, 2)
    )
    for before, between, then, last in sampled.sample(list(schedules), 600):
        scene = Scene(grace, named=is_copy, moves_at_once=moves_at_once)
        writing = scene.write(writer)
        scene.step(writing, before)
        if is_copy:
            scene.store.remove("old")
        one = scene.collect()
        scene.step(one, between)
        two = scene.collect()
        scene.step(two, then)
        for actor in ((writing, two, one), (two, writing, one), (one, writing, two))[last]:
            scene.step(actor)
        scene.end()


def test_two_collections_at_once(tmp_path: Path) -> None:
    stores = [ContentStore(LocalBackend(str(tmp_path / "volume"))) for _ in range(2)]
    for number in range(20):
        stores[0].put(content(5000, number))
    stores[0].save("kept", content(5000, 99))
    actors = [
        Actor(store.backend, store.backend.now, lambda s: collect(s.backend, 0), moves_at_once=True)
        for store in stores
    ]
    while any(not actor.is_over for actor in actors):
        for actor in actors:
            if not actor.is_over:
                actor.step()
    assert [actor.error for actor in actors] == [None, None]
    assert len(objects(tmp_path / "volume", "content")) == 1
    assert objects(tmp_path / "volume", "trash") == []
    assert findings(stores[0]) == []
