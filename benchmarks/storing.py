"""What is measured of a content store in a folder: called by `volume_files` and `volume_small_files`, by name."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gristmill.volumes import open_store
from gristmill.volumes.parallel import in_parallel
from gristmill.volumes.verification import Finding, verify

_MIB = 1 << 20


def large(mebibytes: int) -> dict[str, float]:
    """Return the seconds of copying, of hashing and of putting a file, and of reading it plainly and verified."""
    with _folder() as folder:
        source = folder / "source"
        with source.open("wb") as file:
            for _ in range(mebibytes):
                file.write(os.urandom(_MIB))
            file.flush()
            os.fsync(file.fileno())
        store = open_store(str(folder / "volume"))
        store.save("warm", b"")
        numbers = {
            "copy": _seconds(lambda: _copy(source, folder / "copy")),
            "hash": _seconds(lambda: _hash(source)),
            "put": _seconds(lambda: store.save("file", source)),
        }
        copied = folder / "copy"
        _read(copied)  # (so that both are read from memory, or neither is)
        _drain(store.read_blocks("file"))
        return {
            **numbers,
            "read": _seconds(lambda: _read(copied)),
            "read verified": _seconds(lambda: _drain(store.read_blocks("file"))),
        }


def small(files: int, folders: int) -> dict[str, float]:
    """Return the seconds of writing files of a kibibyte, of listing, of reading and of verifying all."""
    with _folder() as folder:
        store = open_store(str(folder / "volume"))
        content = os.urandom(1024 - 8)
        names = [f"{number % folders:03}/{number:06}" for number in range(files)]
        found: list[Finding] = []

        def write(name: str) -> None:
            store.save(name, content + name.encode()[-8:])

        def read(name: str) -> None:
            with store.open(name) as file:
                file.read()

        numbers = {
            "write": _seconds(lambda: in_parallel(write, names)),
            "list": _seconds(lambda: _count(store.walk(), files)),
            "list a folder": _seconds(lambda: _count(iter(store.list("000")), -(-files // folders))),
            "read": _seconds(lambda: [read(name) for name in names]),
            "verify": _seconds(lambda: verify(store.backend, found.append)),
        }
        assert not found, found[0]
        return numbers


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gristmill-bench-", dir=os.environ.get("GRISTMILL_BENCH_FOLDER")))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _seconds(deed: Callable[[], object]) -> float:
    begin = time.perf_counter()
    deed()
    return time.perf_counter() - begin


def _copy(source: Path, target: Path) -> None:
    """Copy as durably as a store does."""
    with source.open("rb", buffering=0) as given, target.open("wb", buffering=0) as taken:
        while data := given.read(_MIB):
            taken.write(data)
        os.fsync(taken.fileno())


def _hash(source: Path) -> None:
    with source.open("rb") as file:
        hashlib.file_digest(file, "sha256")


def _read(source: Path) -> None:
    with source.open("rb", buffering=0) as file:
        while file.read(_MIB):
            pass


def _drain(pieces: Iterator[object]) -> None:
    for _ in pieces:
        pass


def _count(found: Iterator[object], expected: int) -> None:
    assert sum(1 for _ in found) == expected
