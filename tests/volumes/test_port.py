"""What each storage does, so that the same can be promised of all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.asyn import AsyncFileSystem
from fsspec.generic import rsync
from fsspec.implementations.memory import MemoryFileSystem
from tests.volumes.builders import MIB, content
from tests.volumes.conftest import BY_URL

from gristmill.volumes.collection import collect
from gristmill.volumes.errors import StorageFailed, Taken
from gristmill.volumes.local_backend import LocalBackend
from gristmill.volumes.places import open_store
from gristmill.volumes.remote_backend import RemoteBackend
from gristmill.volumes.store import ContentStore


def test_objects(store: ContentStore) -> None:
    backend, data = store.backend, content(3 * MIB)
    backend.write("names/a/b", data)
    assert backend.read("names/a/b") == data
    assert backend.read("names/a/b", 5, 9) == data[5:9]
    assert backend.read("names/a/b", len(data) - 3, len(data) + 9) == data[-3:]
    assert backend.read("names/a/b", len(data), len(data) + 9) == b""
    assert backend.read("names/a/b", len(data) + 5, len(data) + 9) == b""
    assert next(backend.copies("names/a/b", 5, 9)) == data[5:9]
    entry = backend.stat("names/a/b")
    assert entry is not None
    assert (entry.name, entry.bytes, entry.is_folder) == ("b", len(data), False)
    assert entry.modified - 1 <= backend.now() <= entry.modified + 60
    assert [key for key, _ in backend.walk("names")] == ["names/a/b"]
    assert backend.read_many(["names/a/b", "names/nix"]) == [data, None]


def test_what_is_not_there(store: ContentStore) -> None:
    backend = store.backend
    with pytest.raises(FileNotFoundError):
        backend.read("names/nix")
    with pytest.raises(FileNotFoundError):
        next(backend.copies("names/nix", 0, 9))
    assert backend.stat("names/nix") is None
    assert backend.list("names/nix") == []
    assert list(backend.walk("names/nix")) == []
    assert backend.read_many([]) == []
    assert not backend.move("names/nix", "names/other")
    assert not backend.delete("names/nix")


def test_writing_and_moving(store: ContentStore) -> None:
    backend = store.backend
    backend.write("names/x", b"1", new=True)
    with pytest.raises(FileExistsError):
        backend.write("names/x", b"2", new=True)
    backend.write("names/x", b"3")
    assert backend.move("names/x", "names/y/z")
    assert backend.stat("names/x") is None
    assert backend.read("names/y/z") == b"3"
    draft = backend.draft()
    draft.write(content(MIB))
    draft.write(content(9 * MIB))
    assert backend.stat("names/drawn") is None
    draft.publish("names/drawn")
    draft.discard()
    assert backend.read("names/drawn") == content(MIB) + content(9 * MIB)
    draft = backend.draft()
    draft.write(b"given up")
    draft.discard()
    assert [entry for entry in backend.list("drafts") if not entry.is_folder] == []
    assert backend.delete("names/drawn")
    assert not backend.delete("names/drawn")


@pytest.mark.parametrize("store", BY_URL, indirect=True)
def test_a_forked_process_has_a_store_of_its_own(store: ContentStore) -> None:
    """(A file system with threads, as that of S3, does not go through a fork.)"""
    store.save("file", b"x" * 5000)
    assert open_store(store.backend.url) is store
    pid = os.fork()
    if not pid:
        code = 1
        try:
            own = open_store(store.backend.url)
            code = 0 if own is not store and own.open("file").read() == b"x" * 5000 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class _Unsteady(MemoryFileSystem):  # type: ignore[misc]  # (fsspec has no types)
    """A storage of which some calls fail: `fails` holds names of calls, each with a part of the path."""

    protocol = "unsteady"
    store: dict[str, Any] = {}  # noqa: RUF012 (as that of the base)
    pseudo_dirs = [""]  # noqa: RUF012
    fails: set[tuple[str, str]] = set()  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("unsteady://")))

    def ls(self, path: str, detail: bool = True, **more: Any) -> Any:
        self._fail("ls", path)
        return super().ls(path, detail, **more)

    def info(self, path: str, **more: Any) -> Any:
        self._fail("info", path)
        return super().info(path, **more)

    def _fail(self, call: str, path: str) -> None:
        if any(call == bad and part in path for bad, part in self.fails):
            raise OSError("503 slow down")


@pytest.fixture
def unsteady() -> Iterator[ContentStore]:
    """Return a volume over a storage of which calls can be made to fail."""
    fsspec.register_implementation("unsteady", _Unsteady, clobber=True)
    yield ContentStore(RemoteBackend(f"unsteady://volumes/{secrets.token_hex(8)}"))
    _Unsteady.fails.clear()
    _Unsteady.store.clear()


def test_nothing_is_collected_where_names_cannot_be_listed(unsteady: ContentStore) -> None:
    unsteady.save("a/file", content(5000))
    unsteady.save("b/file", content(6000))
    _Unsteady.fails.add(("ls", "names/b"))
    with pytest.raises(StorageFailed, match="names/b can't be listed: 503"):
        collect(unsteady.backend, 0)
    _Unsteady.fails.clear()
    assert unsteady.open("b/file").read() == content(6000)


def test_what_cannot_be_looked_at_is_not_gone(unsteady: ContentStore) -> None:
    unsteady.save("file", content(5000))
    _Unsteady.fails.add(("info", "names/file"))
    with pytest.raises(StorageFailed, match="503"):
        unsteady.remove("file")
    _Unsteady.fails.clear()
    unsteady.remove("file")
    assert not unsteady.backend.delete("names/file")


def test_a_folder_is_no_file_over_what_fsspec_reaches(unsteady: ContentStore) -> None:
    unsteady.save("a/b", b"1")
    with pytest.raises(Taken, match="a is a folder"):
        unsteady.save("a", b"2")
    assert [file.path for file in unsteady.walk()] == ["a/b"]
    assert unsteady.backend.list("drafts") == []


@pytest.mark.parametrize("kind", ["a link that leads nowhere", "below it nothing can be made"])
def test_a_volume_that_cannot_be_made(tmp_path: Path, kind: str) -> None:
    root = Path("/proc/gristmill")
    if kind.startswith("a link"):
        root = tmp_path / "link"
        root.symlink_to(tmp_path / "nowhere")
    store = open_store(f"{root}/volume")
    for data in (b"1", content(5000), content(9 * MIB)):
        with pytest.raises(StorageFailed, match=f"{root} can't be made"):
            store.save("file", data)


@pytest.mark.parametrize("kind", ["folder", "remote"])
def test_a_forked_child_leaves_its_parents_drafts(kind: str, tmp_path: Path) -> None:
    url = str(tmp_path / "volume")
    backend = LocalBackend(url) if kind == "folder" else RemoteBackend(f"file://{url}")
    store = ContentStore(backend)
    data = content(20 * MIB)
    with store.create("file") as writer:
        writer.write(data)
        pid = os.fork()
        if not pid:
            try:
                writer.discard()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        writer.commit()
    assert store.open("file").read() == data


class _Async(AsyncFileSystem):  # type: ignore[misc]
    """Memory that answers as S3 does: by calls that wait in a loop."""

    protocol = "waits"
    memory = MemoryFileSystem()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.removeprefix("waits://")))

    async def _info(self, path: str, **more: Any) -> Any:
        return self.memory.info(path)

    async def _ls(self, path: str, detail: bool = True, **more: Any) -> Any:
        return self.memory.ls(path, detail)

    async def _cat_file(self, path: str, start: Any = None, end: Any = None, **more: Any) -> Any:
        return self.memory.cat_file(path, start, end)

    async def _cp_file(self, path1: str, path2: str, **more: Any) -> None:
        self.memory.cp_file(path1, path2)

    async def _rm_file(self, path: str, **more: Any) -> None:
        self.memory.rm_file(path)

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        self.memory.makedirs(path, exist_ok)

    def _open(self, path: str, mode: str = "rb", **more: Any) -> Any:
        return self.memory.open(path, mode)


def test_rsync_to_a_storage_that_waits_in_a_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """(fsspec's rsync calls the volume from within the loop that is fsspec's for all.)"""
    fsspec.register_implementation("waits", _Async, clobber=True)
    monkeypatch.setenv("GRISTMILL_VOLUMES", f"waits://{secrets.token_hex(8)}")
    (tmp_path / "source").mkdir()
    for name in ("file", "other"):
        (tmp_path / "source" / name).write_bytes(content(5000))
    rsync((tmp_path / "source").as_uri(), "volume://v/there")
    assert fsspec.filesystem("volume").cat("v/there/file") == content(5000)
    MemoryFileSystem.store.clear()


class _Forgetful(MemoryFileSystem):  # type: ignore[misc]
    """Keeps less than it was given, and says nothing."""

    protocol = "forgetful"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        super().pipe_file(path, value[:-1], mode, **more)

    def mv(self, path1: str, path2: str, **more: Any) -> None:
        super().pipe_file(path2, self.cat_file(path1)[:-1])
        self.rm_file(path1)


@pytest.mark.parametrize("size", [10, 5000, 9 * MIB], ids=["inline", "held", "draft"])
@pytest.mark.parametrize("protocol", ["memory", "forgetful"])
def test_what_a_storage_did_not_keep_is_not_acknowledged(size: int, protocol: str) -> None:
    """(One of the two appears when its upload is complete, the other is moved to its place.)"""
    backend = RemoteBackend(f"memory://{secrets.token_hex(8)}")
    backend.fs = _Forgetful()
    backend._is_atomic = protocol == "memory"
    store = ContentStore(backend)
    with pytest.raises(StorageFailed, match=r"was written with .* bytes and has"):
        store.save("file", content(size))
    MemoryFileSystem.store.clear()


def test_a_folder_is_listed_from_a_prefix_on(store: ContentStore) -> None:
    backend = store.backend
    names = [f"{letter}{number:02}" for letter in "abc" for number in range(30)]
    for name in [*names, "b"]:
        backend.write(f"trash/{name}", b"x")
    assert sorted(entry.name for entry in backend.list("trash", "b")) == names[30:60]
    assert backend.list("trash", "c29") == backend.list("nix", "c") == []
