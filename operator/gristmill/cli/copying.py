"""`gristmill volume put` and `get`: files and folders, into a volume and out of it; complete ones only."""

from __future__ import annotations

import io
import os
import secrets
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path

from gristmill.cli.tally import Tally
from gristmill.cli.text import write_bytes
from gristmill.errors import UsageError
from gristmill.volumes.blocks import BLOCK_BYTES
from gristmill.volumes.names import check_name
from gristmill.volumes.parallel import in_parallel
from gristmill.volumes.places import split
from gristmill.volumes.store import ContentStore, File, OpenFile, Stored

#: the folder in which `gristmill` keeps runs and volumes: it is no part of what is put
_RUNS = ".gristmill"
#: is told of a file that is complete: its URL, where it is here, and what it is
Tell = Callable[[str, str, Stored], None]
#: opens the volume of a name
Opened = Callable[[str], ContentStore]


def put(source: str, url: str, tell: Tell, opened: Opened) -> Tally:
    """Put a file, a folder with all in it, or what comes by standard input (`-`). Returns what was done.

    UsageError where something can't be put, BadName where it can't be named: nothing is put then.
    """
    volume, path = split(url)
    store = opened(volume)
    stop = threading.Event()

    def put_one(one: tuple[str, str, int]) -> None:
        here, name, _ = one
        with open(here, "rb") if here != "-" else sys.stdin.buffer as file, store.create(name) as writer:
            while data := file.read(BLOCK_BYTES):
                _go_on(stop)
                writer.write(data)
                tally.add(len(data))
            stored = writer.commit()
        tally.add(0, files=1)
        tell(f"volume://{volume}/{name}", here, stored)

    if source == "-":
        with Tally("put") as tally:
            put_one(("-", check_name(path), 0))
        return tally
    if f"{store.backend.url}/".startswith(f"{os.path.abspath(source).rstrip('/')}/") and not _is_in_runs(
        store
    ):
        raise UsageError(f"the volume is itself in {source}, at {store.backend.url}: put what is beside it")
    found = [(here, check_name(name), size) for here, name, size in _found(source, path)]
    with Tally("put", sum(size for _, _, size in found)) as tally:
        if len(found) == 1:
            put_one(found[0])
        else:
            in_parallel(put_one, found, stop)
    return tally


def get(url: str, target: str, tell: Tell, opened: Opened) -> Tally:
    """Write a file or a folder with all in it here, or a file to standard output (`-`). Returns what was done.

    Each file is verified, and in its place when it is complete. Links are followed; pipes and devices written into.
    """
    volume, path = split(url)
    store = opened(volume)
    if target == "-":
        return _print(store, path)
    files = list(_wanted(store, path.rstrip("/"), target))
    _check_places([here for _, here in files])
    stop = threading.Event()

    def get_one(one: tuple[File, Path]) -> None:
        file, here = one
        stored = _write(store, file.path, here, tally, stop)
        tell(f"volume://{volume}/{file.path}", str(here), stored)

    with Tally("get", sum(file.size for file, _ in files)) as tally:
        in_parallel(get_one, files, stop)
    return tally


def _found(source: str, path: str) -> Iterator[tuple[str, str, int]]:
    """Yield files here, the names that they get, and their bytes."""
    own = os.path.basename(os.path.abspath(source))
    if path.endswith("/") or not path:
        path = f"{path}{own}" if path or not os.path.isdir(source) else ""
    if not os.path.isdir(source):
        yield source, path, _size(source)
        return
    for folder, folders, names in os.walk(source, onerror=_refuse):
        folders[:] = [name for name in folders if name != _RUNS]
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                raise UsageError(
                    f"{os.path.join(folder, name)} is a link to a folder: put that folder itself"
                )
        below = os.path.relpath(folder, source)
        prefix = "/".join(part for part in (path, "" if below == os.curdir else below) if part)
        for name in names:
            here = os.path.join(folder, name)
            yield here, f"{prefix}/{name}" if prefix else name, _size(here)


def _is_in_runs(store: ContentStore) -> bool:
    return _RUNS in store.backend.url.split("/")


def _size(path: str) -> int:
    try:
        status = os.stat(path)
    except OSError as error:
        what = "is a link that leads nowhere" if os.path.islink(path) else f"can't be read: {error.strerror}"
        raise UsageError(f"{path} {what}") from None
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{path} is neither a file nor a folder")
    return status.st_size


def _refuse(error: OSError) -> None:
    raise UsageError(f"{error.filename} can't be read: {error.strerror}") from error


def _check_places(places: list[Path]) -> None:
    """UsageError where a file would have to be a folder, too: one that is here, or (a name may be both) is to be."""
    files = set(places)
    folders = {folder: place for place in places for folder in place.parents}
    for folder, place in folders.items():
        if folder.exists() and not folder.is_dir():
            raise UsageError(
                f"{folder} is no folder, and {place.relative_to(folder)} is to go into it: write another target, "
                "or move away what is there"
            )
    for place in places:
        if above := next((folder for folder in place.parents if folder in files), None):
            raise UsageError(
                f"{above} would have to be a file, and the folder of {place.name}: get one of them by itself"
            )


def _wanted(store: ContentStore, path: str, target: str) -> Iterator[tuple[File, Path]]:
    """Yield files of a volume, and where they go here."""
    found = store.stat(path)
    here = Path(target)
    into = target.endswith("/") or (here.is_dir() and not found.is_folder)
    if into and path:
        here /= path.rpartition("/")[2]
    if not found.is_folder:
        yield found, here
        return
    below = len(path) + 1 if path else 0
    for file in store.walk(path):
        yield file, here / file.path[below:]


def _write(store: ContentStore, path: str, here: Path, tally: Tally, stop: threading.Event) -> Stored:
    if here.exists() and not here.is_file() and not here.is_dir():  # (a pipe or a device is not replaced)
        with store.open(path) as content, here.open("wb", buffering=0) as file:
            return _pass_on(content, file, tally, stop)
    here = Path(os.path.realpath(here))
    here.parent.mkdir(parents=True, exist_ok=True)
    draft = here.parent / f".gristmill-{secrets.token_hex(8)}"
    try:
        with store.open(path) as content, draft.open("xb", buffering=0) as file:
            stored = _pass_on(content, file, tally, stop)
        draft.replace(here)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
    return stored


def _pass_on(content: OpenFile, file: io.RawIOBase, tally: Tally, stop: threading.Event) -> Stored:
    while rest := memoryview(content.read(BLOCK_BYTES)):
        _go_on(stop)
        tally.add(len(rest))
        while rest:
            rest = rest[file.write(rest) or 0 :]
    tally.add(0, files=1)
    return Stored(content.sha256, content.size)


def _go_on(stop: threading.Event) -> None:
    """Raise where an error, or Ctrl-C, has ended the command meanwhile."""
    if stop.is_set():
        raise CancelledError


def _print(store: ContentStore, path: str) -> Tally:
    tally = Tally("get")
    for block in store.read_blocks(path):
        write_bytes(block)
        tally.bytes += len(block)
    tally.files = 1
    return tally
