"""What a content store does, over each storage."""

from __future__ import annotations

import fcntl
import hashlib
import io
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.volumes.builders import MIB, SIZES, Token, content, findings

from gristmill.volumes.collection import collect
from gristmill.volumes.errors import BadName, Damaged, Fenced, NotThere, Taken
from gristmill.volumes.records import Fence, Record, decode
from gristmill.volumes.store import ContentStore


@pytest.mark.parametrize("size", SIZES)
def test_what_was_saved_is_read(store: ContentStore, size: int) -> None:
    data = content(size)
    stored = store.save("a/file", data)
    assert (stored.sha256, stored.size) == (hashlib.sha256(data).hexdigest(), size)
    with store.open("a/file") as file:
        assert file.read() == data
    assert b"".join(store.read_blocks("a/file")) == data
    assert store.stat("a/file").sha256 == stored.sha256
    assert [(file.path, file.size) for file in store.list("a")] == [("a/file", size)]
    assert findings(store) == []


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "path", "text path", "file", "trickle"])
def test_sources(folder: ContentStore, tmp_path: Path, kind: str) -> None:
    data = content(2 * MIB + 3)
    path = tmp_path / "source"
    path.write_bytes(data)

    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 100_003))

    sources = {
        "bytes": data,
        "bytearray": bytearray(data),
        "path": path,
        "text path": str(path),
        "file": io.BytesIO(data),
        "trickle": Trickle(data),
    }
    assert folder.put(sources[kind]).sha256 == hashlib.sha256(data).hexdigest()
    with folder.open_content(hashlib.sha256(data).hexdigest()) as file:
        assert file.read() == data


def test_a_buffer_that_its_owner_fills_again(folder: ContentStore) -> None:
    buffer = bytearray(MIB)
    pieces = [content(MIB, seed) for seed in range(3)]
    with folder.create("file") as writer:
        for piece in pieces:
            buffer[:] = piece
            writer.write(buffer)
        stored = writer.commit()
    assert stored.sha256 == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert folder.open("file").read() == b"".join(pieces)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3 * MIB + 9), st.integers(0, 2 * MIB)), min_size=1, max_size=6))
def test_ranges(folder: ContentStore, ranges: list[tuple[int, int]]) -> None:
    data = content(3 * MIB + 7)
    folder.save("file", data)
    with folder.open("file") as file:
        for start, length in ranges:
            file.seek(start)
            assert file.read(length) == data[start : start + length]


def test_lines_and_seeks(store: ContentStore) -> None:
    data = b"".join(b"line %d\n" % number for number in range(200_000))
    store.save("lines", data)
    with store.open("lines") as file:
        assert list(file) == data.splitlines(keepends=True)
        assert file.seek(-7, io.SEEK_END) == len(data) - 7
        assert file.read() == data[-7:]
        with pytest.raises(ValueError, match="no position"):
            file.seek(-1, io.SEEK_SET)


def test_the_same_content_is_stored_once(store: ContentStore) -> None:
    data = content(9 * MIB)
    names = [f"copy {number}" for number in range(3)]
    for name in names:
        store.save(name, data)
    store.copy(names[0], "by copy")
    stored = store.put(io.BytesIO(data))
    store.name("by name", stored.sha256)
    assert len(list(store.backend.walk("content"))) == 1
    for name in (*names, "by copy", "by name"):
        assert store.open(name).read() == data
    assert list(store.backend.list("drafts")) == []


def test_a_name_takes_the_place_of_what_it_meant(store: ContentStore) -> None:
    for size in (5000, 10, 2 * MIB):
        store.save("file", content(size))
        assert store.open("file").read() == content(size)
    store.remove("file")
    with pytest.raises(FileNotFoundError):
        store.open("file")
    with pytest.raises(NotThere, match="file is not in"):
        store.remove("file")
    assert store.list() == []


def test_what_is_read_stays_while_its_name_gets_other_content(folder: ContentStore) -> None:
    data = content(3 * MIB)
    folder.save("file", data)
    with folder.open("file") as file:
        assert file.read(10) == data[:10]
        folder.save("file", b"other")
        assert collect(folder.backend, 0).removed == 1
        assert file.read(10) == data[10:20]
        with pytest.raises(NotThere, match="put the file again"):
            file.read()


def test_new_names_only(store: ContentStore) -> None:
    store.save("file", b"first", new=True)
    with pytest.raises(FileExistsError, match="file is there already"):
        store.save("file", b"second", new=True)
    assert store.open("file").read() == b"first"


def test_one_of_many_gets_a_new_name(folder: ContentStore) -> None:
    won = []
    begin = threading.Barrier(8)

    def try_it(number: int) -> None:
        begin.wait()
        try:
            folder.save("file", b"%d" % number, new=True)
        except Taken:
            return
        won.append(number)

    threads = [threading.Thread(target=try_it, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = won
    assert folder.open("file").read() == b"%d" % winner


def test_content_that_is_not_there_gets_no_name(store: ContentStore) -> None:
    with pytest.raises(NotThere, match="put the file again"):
        store.name("file", "0" * 64)
    with pytest.raises(BadName, match="no digest"):
        store.name("file", "../../etc/passwd")
    assert store.list() == []


def test_tokens(store: ContentStore) -> None:
    sha256 = store.put(content(5000)).sha256
    store.name("file", sha256, token=Token("nightly", 7))
    store.save("file", b"same holder", token=Token("nightly", 7))
    store.save("file", b"later", token=Token("nightly", 12))
    for deed in (
        lambda token: store.name("file", sha256, token=token),
        lambda token: store.save("file", b"late", token=token),
        lambda token: store.remove("file", token=token),
    ):
        with pytest.raises(
            Fenced, match=r"file was written by a later holder of lock nightly \(token 12, and not 7\)"
        ):
            deed(Token("nightly", 7))
        with pytest.raises(Fenced, match="another lock than weekly"):
            deed(Token("weekly", 99))
    assert store.open("file").read() == b"later"
    store.remove("file", token=Token("nightly", 12))
    with pytest.raises(BadName, match="a token's number"):
        store.save("file", b"", token=Token("nightly", 0))


def test_looking_and_writing_are_one_step(folder: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier holder that comes while a later one writes waits, and is refused then."""
    asked = threading.Event()
    flock = fcntl.flock

    def ask(handle: int, how: int) -> None:
        asked.set()
        flock(handle, how)

    errors: list[Exception] = []

    def write() -> None:
        try:
            folder.save("file", b"earlier", token=Token("lock", 1))
        except Fenced as error:
            errors.append(error)

    with folder.backend.exclusive("names/file"):
        monkeypatch.setattr(fcntl, "flock", ask)
        thread = threading.Thread(target=write)
        thread.start()
        assert asked.wait(30)
        later = Record(5, hashlib.sha256(b"later").hexdigest(), b"later", Fence.of(Token("lock", 2)))
        folder.names.point("file", later)
    thread.join()
    assert len(errors) == 1
    assert folder.open("file").read() == b"later"


def test_folders_are_there_for_their_files(store: ContentStore) -> None:
    store.save("a/b/c", b"1")
    store.save("a/d", content(5000))
    assert [(file.path, file.is_folder, file.size) for file in store.list("a")] == [
        ("a/b", True, 0),
        ("a/d", False, 5000),
    ]
    assert sorted(file.path for file in store.walk()) == ["a/b/c", "a/d"]
    assert sorted(file.path for file in store.walk("a/b")) == ["a/b/c"]
    assert store.stat("a/b").is_folder
    store.remove("a/b/c")
    assert [file.path for file in store.walk()] == ["a/d"]
    if not store.backend.url.startswith("s3:"):  # (that of SeaweedFS keeps a folder that was emptied)
        assert [file.path for file in store.list("a")] == ["a/d"]
        with pytest.raises(FileNotFoundError):
            store.stat("a/b")
    with pytest.raises(FileNotFoundError):
        store.open("a")


def test_a_file_is_no_folder(folder: ContentStore) -> None:
    folder.save("a/b", b"1")
    with pytest.raises(Taken, match="a is a folder"):
        folder.save("a", b"2")
    with pytest.raises(Taken, match="a part of it is a file"):
        folder.save("a/b/c", b"2")
    with pytest.raises(NotThere, match="below a file"):
        folder.open("a/b/c")


def test_leaving_without_commit_leaves_nothing(store: ContentStore) -> None:
    for size in (10, 5000, 9 * MIB):
        with store.create("file") as writer:
            writer.write(content(size))
    assert store.list() == []
    assert list(store.backend.walk("content")) == []
    assert list(store.backend.list("drafts")) == []


def test_a_record_is_of_its_name_only() -> None:
    data = Record(5, hashlib.sha256(b"bytes").hexdigest(), b"bytes").encode("one")
    assert decode(data, "one").inline == b"bytes"
    with pytest.raises(Damaged):
        decode(data, "other")
