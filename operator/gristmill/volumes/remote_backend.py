"""A folder of a file system of fsspec. What was written is confirmed by what the storage then says of its size.

Object stores show an object when its upload is complete, so it goes straight to its key; elsewhere it is uploaded as a
draft, and then moved.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from typing import Any

from fsspec import get_filesystem_class
from fsspec.core import url_to_fs

from gristmill.volumes.blocks import Bytes
from gristmill.volumes.errors import StorageFailed, told
from gristmill.volumes.names import DRAFTS
from gristmill.volumes.port import Entry, goes_on, in_runs
from gristmill.volumes.written import written_now

#: protocols of fsspec by which an object appears when its upload is complete
_ATOMIC = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "memory"}
#: protocols of which `find` is one listing and raises what fails; that of others leaves such a folder out
_FINDS = {"s3", "s3a"}
#: what file systems call the time at which an object was written
_TIMES = ("mtime", "LastModified", "last_modified", "modified", "created")
#: bytes of a draft that are sent at once
_PIECE_BYTES = 8 << 20


class RemoteBackend:
    """A folder of a file system of fsspec; see `Backend`."""

    #: (one that copies and removes gives each copy bytes of its own)
    move_seconds = 0.0

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        protocol = url.partition("://")[0]
        with told(self.url, "opened"):
            try:
                is_async = "::" not in url and get_filesystem_class(protocol).async_impl
                own = {"loop": _loop(os.getpid())} if is_async else {}
                self.fs, root = url_to_fs(self.url, **own)
            except ImportError as error:
                raise StorageFailed(f"{url} needs a package that is not installed: {error}") from error
        self._root = root.rstrip("/")
        self._is_atomic = protocol in _ATOMIC
        self._finds = protocol in _FINDS
        self._locked = threading.Lock()

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `Backend`."""
        with told(f"{self.url}/{key}", "read"):
            try:
                return bytes(self.fs.cat_file(self.path(key), start=start, end=stop))
            except FileNotFoundError:
                raise
            except Exception:  # (some refuse a range that begins where the object has ended)
                entry = self.stat(key) if start else None
                if entry is None or entry.bytes > start:
                    raise
                return b""

    def stream(self, key: str, start: int, stop: int, unit: int) -> Iterator[bytes]:
        """See `Backend`."""
        return in_runs(self, key, start, stop, unit)

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `Backend`."""
        if not keys:
            return []
        with told(self.url, "read"):
            answers = self.fs.cat_ranges([self.path(key) for key in keys], 0, None, on_error="return")
            return [_answer(answer) for answer in answers]

    def copies(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """See `Backend`. fsspec knows no copies: it is read once more."""
        yield self.read(key, start, stop)

    def unreached(self) -> Sequence[str]:
        """See `Backend`."""
        return ()

    def write(self, key: str, data: bytes, *, new: bool = False) -> None:
        """See `Backend`. Whether `new` is exact is the file system's: on S3 it is a condition of the upload."""
        with told(f"{self.url}/{key}", "written"):
            if self._is_atomic:
                try:
                    self.fs.pipe_file(self.path(key), data, mode="create" if new else "overwrite")
                except OSError as error:
                    if new and "precondition" in f"{error} {error.__cause__}".lower():
                        raise FileExistsError(key) from error
                    raise
                self.confirm(key, len(data))
                return
            there = self.stat(key)
            if there is not None and there.is_folder:  # (a draft would be moved into it)
                raise IsADirectoryError(key)
            if new and there is not None:
                raise FileExistsError(key)
            draft = self.draft()
            try:
                draft.write(data)
                draft.publish(key)
            finally:
                draft.discard()

    def draft(self) -> RemoteDraft:
        """See `Backend`."""
        with told(self.url, "written"):
            return RemoteDraft(self, f"{DRAFTS}/{secrets.token_hex(8)}")

    def move(self, key: str, to: str) -> bool:
        """See `Backend`. Object stores copy, and then remove: it may be at both keys for a moment."""
        with told(f"{self.url}/{key}", "moved"):
            self.make_folder(to)
            try:
                self.fs.mv(self.path(key), self.path(to))
            except FileNotFoundError:
                return False
            return True

    def stat(self, key: str) -> Entry | None:
        """See `Backend`."""
        with told(f"{self.url}/{key}", "looked at"):
            self.fs.invalidate_cache()
            try:
                return _entry(self.fs.info(self.path(key)))
            except FileNotFoundError:
                return None

    def list(self, folder: str, prefix: str = "") -> list[Entry]:
        """See `Backend`."""
        path = self.path(folder)
        with told(f"{self.url}/{folder}", "listed"), suppress(FileNotFoundError, NotADirectoryError):
            self.fs.invalidate_cache()
            infos = self.fs.ls(path, detail=True)
            found = [_entry(info) for info in infos if _is_below(info, path)]
            return [entry for entry in found if goes_on(entry.name, prefix)]
        return []

    def walk(self, folder: str) -> Iterator[tuple[str, Entry]]:
        """See `Backend`."""
        if not self._finds:
            for entry in self.list(folder):
                key = f"{folder}/{entry.name}"
                if entry.is_folder:
                    yield from self.walk(key)
                else:
                    yield key, entry
            return
        with told(f"{self.url}/{folder}", "listed"):
            self.fs.invalidate_cache()
            found = self.fs.find(self.path(folder), detail=True)
        below = len(self._root) + 1 if self._root else 0
        for path, info in found.items():
            if info["type"] == "file":  # (some tell of a folder that was emptied)
                yield path[below:], _entry(info)

    def shares(self, key: str, *others: str) -> bool:
        """See `Backend`: what is copied has bytes of its own."""
        return False

    def delete(self, key: str, *, leave_bytes: bool = False) -> bool:
        """See `Backend`. What was copied stays."""
        with told(f"{self.url}/{key}", "removed"):
            entry = self.stat(key)
            if entry is None or entry.is_folder:
                return False
            try:
                self.fs.rm_file(self.path(key))
            except FileNotFoundError:
                return False
            return True

    @contextmanager
    def exclusive(self, key: str) -> Iterator[None]:
        """See `Backend`: only threads of this process, fsspec has nothing for others."""
        with self._locked:
            yield

    def now(self) -> float:
        """See `Backend`: the time that an object gets which is written now."""
        return written_now(self)

    def path(self, key: str) -> str:
        """Return where an object is in fsspec's file system."""
        return f"{self._root}/{key}"

    def make_folder(self, key: str) -> None:
        """Make the folder of an object, where the file system has such."""
        if not self._is_atomic:
            self.fs.makedirs(self.path(key).rpartition("/")[0], exist_ok=True)

    def confirm(self, key: str, size: int) -> None:
        """Raise StorageFailed where an object that was written has not so many bytes."""
        self.fs.invalidate_cache()
        found = self.fs.info(self.path(key))["size"]
        if found != size:
            raise StorageFailed(f"{self.url}/{key} was written with {size:,} bytes and has {found:,}")


class RemoteDraft:
    """An object under a name of its own, uploaded piece by piece; see `Draft`."""

    def __init__(self, backend: RemoteBackend, key: str) -> None:
        self._backend = backend
        self._key = key
        self._size = 0
        self._pid = os.getpid()
        backend.make_folder(key)
        self._file: Any = backend.fs.open(backend.path(key), "wb", block_size=_PIECE_BYTES)

    def write(self, data: Bytes) -> None:
        """See `Draft`."""
        with told(self._backend.url, "written"):
            self._file.write(data)
        self._size += len(data)

    def publish(self, key: str) -> None:
        """See `Draft`."""
        with told(f"{self._backend.url}/{key}", "written"):
            self._file.close()
            if not self._backend.move(self._key, key):
                raise StorageFailed(
                    f"{self._backend.url}/{key}: its draft was removed while it waited; write it again"
                )
            self._backend.confirm(key, self._size)
        self._file = None

    def discard(self) -> None:
        """See `Draft`."""
        if self._file is None or os.getpid() != self._pid:  # (a forked child's copy: the parent goes on)
            return
        with suppress(Exception):
            if hasattr(self._file, "discard"):
                self._file.discard()
            self._file.close()
        with suppress(Exception):
            self._backend.delete(self._key)
        self._file = None


@lru_cache(maxsize=1)
def _loop(pid: int) -> asyncio.AbstractEventLoop:
    """Return the loop of a process in which storages are waited for.

    It is not fsspec's: that calls `volume://` from within its own, as in rsync, and would wait for itself.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="volumes", daemon=True).start()
    return loop


def _answer(answer: Any) -> bytes | None:
    if isinstance(answer, FileNotFoundError | IsADirectoryError):
        return None
    if isinstance(answer, Exception):
        raise answer
    return bytes(answer)


def _is_below(info: dict[str, Any], folder: str) -> bool:
    """Whether an entry of a listing is in the folder: some tell the folder, too."""
    return str(info["name"]).rstrip("/").lstrip("/") != folder.strip("/")


def _entry(info: dict[str, Any]) -> Entry:
    name = str(info["name"]).rstrip("/").rpartition("/")[2]
    if info["type"] == "directory":
        return Entry(name, is_folder=True)
    written = next((info[key] for key in _TIMES if info.get(key)), 0.0)
    return Entry(
        name, info["size"] or 0, written.timestamp() if isinstance(written, datetime) else float(written)
    )
