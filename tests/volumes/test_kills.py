"""A writer that is killed before any of its calls to the system: a name means all of the old, or all of the new."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.volumes.builders import MIB, content, findings, objects

from gristmill.volumes.collection import collect
from gristmill.volumes.errors import NotThere
from gristmill.volumes.local_backend import LocalBackend, LocalDraft
from gristmill.volumes.store import ContentStore

#: calls by which a folder is changed
CALLS = ("fsync", "replace", "link", "rename", "mkdir", "unlink", "rmdir")

OLD = content(6000, 1)


def _killed(root: Path, deed: Callable[[ContentStore], Any], number: int) -> bool:
    """Do something in a process that is killed before its call of that number; say whether it was."""
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
        return os.WIFSIGNALED(status)
    left = number

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*words: Any, **named: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return call(*words, **named)

        return wrapper

    code = 1
    try:
        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        LocalDraft.write = counted(LocalDraft.write)  # type: ignore[method-assign]
        deed(ContentStore(LocalBackend(str(root))))
        code = 0
    finally:
        os._exit(code)


@pytest.mark.parametrize("old", [False, True], ids=["new", "in place of another"])
@pytest.mark.parametrize("size", [10, 5000, 9 * MIB], ids=["inline", "held", "draft"])
def test_killed_while_a_file_is_saved(tmp_path: Path, size: int, old: bool) -> None:
    data, seen = content(size, 2), set()
    for number in range(100):
        root = tmp_path / str(number)
        store = ContentStore(LocalBackend(str(root)))
        if old:
            store.save("a/file", OLD)
        was_killed = _killed(root, lambda killed: killed.save("a/file", data), number)
        try:
            found = store.open("a/file").read()
        except NotThere:
            found = None
        seen.add(found)
        assert found in (data, OLD if old else None)
        assert was_killed or found == data
        assert findings(store) == []
        collect(store.backend, 0)
        assert objects(root, "drafts") == objects(root, "trash") == []
        assert len(objects(root, "content")) == (found is not None and len(found) > 3072)
        store.save("a/file", data)
        assert store.open("a/file").read() == data
        if not was_killed:
            break
    assert number > 3
    assert seen == {data, OLD if old else None}


@pytest.mark.parametrize("kind", ["collect", "remove", "copy"])
def test_killed_while_it_is_looked_after(tmp_path: Path, kind: str) -> None:
    deeds: dict[str, Callable[[ContentStore], Any]] = {
        "collect": lambda store: collect(store.backend, 0),
        "remove": lambda store: store.remove("a/gone"),
        "copy": lambda store: store.copy("kept", "a/copy"),
    }
    for number in range(100):
        root = tmp_path / str(number)
        store = ContentStore(LocalBackend(str(root)))
        store.save("kept", OLD)
        store.save("a/gone", content(5000, 3))
        for seed in range(4, 7):
            store.put(content(5000, seed))
        was_killed = _killed(root, deeds[kind], number)
        assert store.open("kept").read() == OLD
        assert findings(store) == []
        collect(store.backend, 0)
        named = {record.sha256 for _, record in store.names.read_all() if not isinstance(record, Exception)}
        assert {path.name for path in objects(root, "content")} == named
        if not was_killed:
            break
    assert number > 1


@pytest.mark.parametrize("size", [10, 5000, 9 * MIB], ids=["inline", "held", "draft"])
def test_on_the_disk_before_it_is_named(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut can't be tried here; the order of calls that makes it harmless can be seen."""
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def record_sync(handle: int) -> None:
        calls.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def record_replace(source: str, target: str) -> None:
        replace(source, target)  # (it may fail at first: the folder is made then)
        calls.append((source, target))

    root = tmp_path.resolve() / "volume"
    ContentStore(LocalBackend(str(root))).save("a/warm", b"")
    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "replace", record_replace)
    ContentStore(LocalBackend(str(root))).save("a/file", content(size))
    moves = [number for number, (what, _) in enumerate(calls) if what != "sync"]
    assert [calls[number][1].removeprefix(f"{root}/").split("/")[0] for number in moves] == (
        ["names"] if size == 10 else ["content", "names"]
    )
    for number, until in zip(moves, [*moves[1:], len(calls)], strict=True):
        source, target = calls[number]
        assert ("sync", source) in calls[:number]
        assert ("sync", os.path.dirname(target)) in calls[number:until]


def test_a_new_folder_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []
    fsync, mkdir = os.fsync, os.mkdir

    def record_sync(handle: int) -> None:
        calls.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def record_mkdir(path: str) -> None:
        mkdir(path)
        calls.append(("made", path))

    root = tmp_path.resolve() / "volume"
    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "mkdir", record_mkdir)
    ContentStore(LocalBackend(str(root))).save("a/b/file", content(5000))
    made = [number for number, (what, _) in enumerate(calls) if what == "made"]
    assert {f"{root}", f"{root}/names/a", f"{root}/names/a/b"} <= {calls[number][1] for number in made}
    for number in made:
        assert calls[number + 1] == ("sync", os.path.dirname(calls[number][1]))
