"""What no name points at is collected, and nothing else is: whoever does what in between, or is killed."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.volumes.builders import MIB, content, findings, flip, objects
from tests.volumes.model_filer import ModelFiler
from tests.volumes.schedules import Actor, Stepped

from gristmill.volumes.collection import collect
from gristmill.volumes.errors import NotThere, StorageFailed
from gristmill.volumes.local_backend import LocalBackend
from gristmill.volumes.names import content_key, trash_key
from gristmill.volumes.port import Entry
from gristmill.volumes.records import Record
from gristmill.volumes.store import ContentStore
from gristmill.volumes.verification import Finding, verify

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
    sha256, since, rest = aside.name.split("-")
    aside.rename(aside.with_name(f"{sha256}-{int(since) - HOUR - 1:012.0f}-{rest}"))
    assert collect(folder.backend, HOUR).removed == 1
    assert list((root / "trash").iterdir()) == []


def test_what_a_collection_has_not_put_into_the_trash_ends_no_collection(folder: ContentStore) -> None:
    folder.backend.write("trash/strange", b"x")
    assert collect(folder.backend, HOUR).removed == 1


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
    path.rename(tmp_path / f"volume/trash/{path.name}-000000000001-beef")
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


def test_two_collections_at_once(tmp_path: Path) -> None:
    stores = [ContentStore(LocalBackend(str(tmp_path / "volume"))) for _ in range(2)]
    for number in range(20):
        stores[0].put(content(5000, number))
    stores[0].save("kept", content(5000, 99))
    actors = [
        Actor(
            lambda wait, of=store.backend: Stepped(of, of.now, wait, moves_at_once=True),
            lambda s: collect(s.backend, 0),
        )
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


def test_what_is_aside_is_not_listed_again_for_every_some_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a filer: twice for all contents, and twice more for those that are there once more."""
    monkeypatch.setattr("gristmill.volumes.collection.time.sleep", lambda seconds: None)
    backend = ModelFiler(time.time).backend(lambda: None)
    contents = [content(4000 + number) for number in range(450)]
    backend.write(trash_key("1-00", hashlib.sha256(contents[0]).hexdigest()), contents[0])
    for data in contents:
        backend.write(content_key(hashlib.sha256(data).hexdigest()), data)
    walked: list[str] = []
    walk = backend.walk

    def counted(folder: str) -> Iterator[tuple[str, Entry]]:
        walked.append(folder)
        return walk(folder)

    monkeypatch.setattr(backend, "walk", counted)
    assert collect(backend, 0).removed == 451
    # (one to begin with, and two for each of two rounds)
    assert walked.count("trash") == walked.count("doomed") == 1 + 2 * 2


def test_what_is_right_in_the_trash_mends_what_is_damaged_in_its_place(
    folder: ContentStore, tmp_path: Path
) -> None:
    folder.save("file", content(3 * MIB))
    folder.remove("file")
    aged(tmp_path / "volume", 2)
    assert collect(folder.backend, 1).aside == 1
    folder.save("file", content(3 * MIB))
    (path,) = objects(tmp_path / "volume", "content")
    flip(path, MIB + 5)
    assert folder.open("file").read() == content(3 * MIB)
    assert [(one.kind, one.block) for one in findings(folder)] == [("damaged", 1)]
    found: list[Finding] = []
    verify(folder.backend, found.append, repair=True)
    assert [one.kind for one in found] == ["mended"]
    assert findings(folder) == []
    flip(path, 5)
    (aside,) = objects(tmp_path / "volume", "trash")
    flip(aside, 5)
    found.clear()
    verify(folder.backend, found.append, repair=True)
    assert [one.kind for one in found] == ["damaged"]


def test_what_can_not_be_put_again_is_told_and_the_rest_is_looked_at(
    folder: ContentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("a", "b")):
        folder.save(name, content(5000, number))
    for path in objects(tmp_path / "volume", "content"):
        flip(path, 5)
    found: list[Finding] = []
    verify(folder.backend, found.append, repair=True)
    assert sorted((one.path, one.kind) for one in found) == [("a", "damaged"), ("b", "damaged")]
    assert objects(tmp_path / "volume", "drafts") == []

    def full(*_: object, **__: object) -> None:
        error = StorageFailed("no space left")
        error.errno = errno.ENOSPC
        raise error

    monkeypatch.setattr("gristmill.volumes.verification._put_again", full)
    found.clear()
    verify(folder.backend, found.append, repair=True)
    told = [one.path for one in found if "could not be put again: no space left" in one.reason]
    assert sorted(told) == ["a", "b"]
