"""A bit that is flipped is found wherever it is, read around where there is a copy, and mended by putting again."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.volumes.builders import MIB, Token, content, findings, flip, objects

from gristmill.volumes.blocks import Manifest, check_of
from gristmill.volumes.errors import Damaged, NotThere
from gristmill.volumes.local_backend import LocalBackend
from gristmill.volumes.names import content_key
from gristmill.volumes.store import ContentStore


def read(store: ContentStore, path: str) -> bytes:
    with store.open(path) as file:
        return file.read()


def assert_found(store: ContentStore, path: str, block: int | None) -> None:
    """Reading tells the file and the block, and so does `verify`; a listing may say it, too."""
    with pytest.raises(Damaged, match=r"(file|small).* is damaged .*put the file again") as told:
        read(store, path)
    assert told.value.block == block
    assert isinstance(told.value, OSError)
    (finding,) = findings(store)
    assert (finding.path, finding.kind, finding.block) == (path, "damaged", block)


def test_each_bit_of_a_name(folder: ContentStore, tmp_path: Path) -> None:
    folder.save("file", content(5000))
    folder.save("small", b"inline")
    for name in ("file", "small"):
        path = tmp_path / "volume/names" / name
        for place in range(path.stat().st_size):
            for bit in range(8):
                flip(path, place, bit)
                with pytest.raises(Damaged):
                    read(folder, name)
                flip(path, place, bit)
        flip(path, 100)
        assert_found(folder, name, None)
        flip(path, 100)
    assert findings(folder) == []


def test_each_bit_of_the_list_of_blocks(folder: ContentStore, tmp_path: Path) -> None:
    size = MIB + 100
    folder.save("file", content(size))
    (path,) = objects(tmp_path / "volume", "content")
    for place in range(size, path.stat().st_size):
        for bit in range(8):
            flip(path, place, bit)
            with pytest.raises(Damaged):
                read(folder, "file")
            flip(path, place, bit)
    flip(path, size)
    assert_found(folder, "file", None)


@pytest.mark.parametrize("size", [4000, MIB, 9 * MIB + 17])
def test_any_bit_of_the_content(
    folder: ContentStore, tmp_path: Path, size: int, sampled: random.Random
) -> None:
    data = content(size)
    folder.save("file", data)
    (path,) = objects(tmp_path / "volume", "content")
    for place in (0, size - 1, *sampled.sample(range(size), 20)):
        block, bit = place // MIB, sampled.randrange(8)
        flip(path, place, bit)
        assert_found(folder, "file", block)
        with folder.open("file") as file:
            file.seek(place)
            with pytest.raises(Damaged, match=f"file, block {block}"):
                file.read(1)
            for other in {0, (size - 1) // MIB} - {block}:
                file.seek(other * MIB)
                assert file.read(10) == data[other * MIB :][:10]
        flip(path, place, bit)
    assert read(folder, "file") == data


@pytest.mark.parametrize("size", [4000, 3 * MIB])
@pytest.mark.parametrize("change", [-1, -2000, 1, 1 << 20, "empty"])
def test_content_of_another_length(
    folder: ContentStore, tmp_path: Path, size: int, change: int | str
) -> None:
    folder.save("file", content(size))
    (path,) = objects(tmp_path / "volume", "content")
    with path.open("r+b") as file:
        file.truncate(0 if isinstance(change, str) else path.stat().st_size + change)
    with pytest.raises(Damaged):
        read(folder, "file")
    assert [finding.kind for finding in findings(folder)] == ["damaged"]
    with pytest.raises(Damaged), folder.open_content(path.name) as opened:
        opened.read()


@pytest.mark.parametrize("left", [50, 3000])
def test_content_that_is_cut_gets_no_name(folder: ContentStore, tmp_path: Path, left: int) -> None:
    sha256 = folder.put(content(7000)).sha256
    (path,) = objects(tmp_path / "volume", "content")
    os.truncate(path, left)
    with pytest.raises(Damaged):
        folder.name("file", sha256)
    assert list(folder.walk()) == []


def test_content_in_the_place_of_other(folder: ContentStore, tmp_path: Path) -> None:
    folder.save("file", content(5000, 1))
    folder.save("other", content(5000, 2))
    one, two = objects(tmp_path / "volume", "content")
    one.write_bytes(two.read_bytes())
    damaged = {finding.path for finding in findings(folder)}
    assert len(damaged) == 1
    with pytest.raises(Damaged, match="other content"):
        read(folder, damaged.pop())


def test_blocks_that_are_right_and_a_digest_that_is_not(folder: ContentStore) -> None:
    """Checks of other content, sealed with this digest: only the sha256 of the whole tells."""
    data, other = content(5000, 1), content(5000, 2)
    sha256 = folder.save("file", data).sha256
    end = Manifest(5000, sha256, check_of(other)).encode()
    folder.backend.write(content_key(sha256), other + end)
    (finding,) = findings(folder)
    assert (finding.kind, finding.block) == ("damaged", None)
    assert "its sha256 is not" in finding.reason


def test_content_that_is_gone(folder: ContentStore, tmp_path: Path) -> None:
    folder.save("file", content(5000))
    folder.copy("file", "copy")
    (path,) = objects(tmp_path / "volume", "content")
    path.unlink()
    with pytest.raises(NotThere, match=r"file: its content .* put the file again"):
        read(folder, "file")
    assert sorted((finding.path, finding.kind) for finding in findings(folder)) == [
        ("copy", "missing"),
        ("file", "missing"),
    ]


def test_putting_again_mends_it(folder: ContentStore, tmp_path: Path) -> None:
    data = content(5000)
    folder.save("file", data)
    (path,) = objects(tmp_path / "volume", "content")
    flip(path, 3000)
    folder.put(data)
    assert read(folder, "file") == data
    flip(tmp_path / "volume/names/file", 3)
    folder.save("file", data)
    assert findings(folder) == []


def test_a_damaged_name_can_be_removed_with_a_token(folder: ContentStore, tmp_path: Path) -> None:
    folder.save("file", content(5000), token=Token("lock", 1))
    flip(tmp_path / "volume/names/file", 3)
    folder.remove("file", token=Token("lock", 2))
    assert list(folder.walk()) == []


class _Replicated(LocalBackend):
    """Keeps what is in a folder in another one, too, as a storage with replicas does."""

    def __init__(self, root: Path, replica: Path) -> None:
        super().__init__(str(root))
        self._replica = LocalBackend(str(replica))

    def copies(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        yield from super().copies(key, start, stop)
        yield from self._replica.copies(key, start, stop)


@pytest.mark.parametrize("size", [100, 5000, 3 * MIB])
def test_reads_go_around_a_damaged_copy(tmp_path: Path, size: int) -> None:
    data = content(size)
    for root in ("one", "two"):
        ContentStore(LocalBackend(str(tmp_path / root))).save("file", data)
    store = ContentStore(_Replicated(tmp_path / "one", tmp_path / "two"))
    paths = [tmp_path / "one/names/file", *objects(tmp_path / "one", "content")]
    for path in paths:
        for place in (10, path.stat().st_size - 10):
            flip(path, place)
            assert read(store, "file") == data
            assert b"".join(store.read_blocks("file")) == data
            (finding,) = findings(store)
            assert finding.kind == "copy"
            flip(path, place)
    if size > 3072:
        flip(paths[1], 10)
        assert [(found.kind, found.block) for found in findings(store)] == [("copy", 0)]
        flip(tmp_path / "two" / paths[1].relative_to(tmp_path / "one"), 20)
        with pytest.raises(Damaged, match="file, block 0"):
            read(store, "file")
        assert [(found.kind, found.block) for found in findings(store)] == [("damaged", 0)]


class _BadMemory(LocalBackend):
    """Gives back a flipped bit from its cache; what lies on the disk is right."""

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        data = bytearray(super().read(key, start, stop))
        data[len(data) // 2] ^= 1
        return bytes(data)


@pytest.mark.parametrize("size", [100, 5000, 3 * MIB])
def test_reads_go_around_a_damaged_cache(tmp_path: Path, size: int) -> None:
    ContentStore(LocalBackend(str(tmp_path))).save("file", content(size))
    store = ContentStore(_BadMemory(str(tmp_path)))
    assert read(store, "file") == content(size)
    assert findings(store) == []


@pytest.mark.parametrize("left", [8 * MIB, 10 * MIB + 5])
def test_content_that_is_cut_while_it_is_read_does_not_just_end(
    folder: ContentStore, tmp_path: Path, left: int
) -> None:
    data = content(20 * MIB)
    folder.save("file", data)
    pieces = folder.read_blocks("file")
    assert next(pieces) == data[:MIB]
    (path,) = objects(tmp_path / "volume", "content")
    os.truncate(path, left)
    with pytest.raises(Damaged) as told:
        list(pieces)
    assert told.value.block == left // MIB
