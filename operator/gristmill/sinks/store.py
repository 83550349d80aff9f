"""A folder to write to, local or through fsspec, in which a file is there whole or not at all.

Everything is written to a draft first. Locally a draft is a file of the same file system, and publishing is a
rename. Elsewhere it is a local file that is uploaded under its final name: object stores show an object when
it is complete; on other file systems it is uploaded under a name of its own and then moved.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote

from gristmill.errors import GristmillError, OutputError
from gristmill.sinks.layout import TEMPORARY

_BUFFER = 1 << 18
#: protocols of fsspec by which an object appears when its upload is complete
_ATOMIC = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "memory"}


class Store(Protocol):
    """A folder; names are relative to it, with slashes. All methods raise OutputError when storage fails."""

    url: str

    def draft(self) -> Draft:
        """Return a new draft."""

    def publish(self, draft: Draft, name: str) -> None:
        """Make a draft visible under a name, in place of what had it."""

    def claim(self, draft: Draft, name: str) -> bool:
        """Publish a draft unless the name is taken; say whether it was published."""

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None when there is no such file."""

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        """Return the contents of many files, None for what is not there."""

    def read_ends(self, files: Sequence[tuple[str, int]], length: int) -> list[bytes | None]:
        """Return the last `length` bytes of files (name, size), None for what is not there."""

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""

    def list(self, folder: str = "", deep: bool = False) -> dict[str, int]:
        """Return names and sizes of the files in a folder, `deep`: in those below too; {} without it."""

    def size(self, name: str) -> int | None:
        """Return the bytes of a file, or None when there is no such file."""

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all in it, if it is there."""


class Draft:
    """A file that nobody sees yet. Write to `file`; then `Store.publish`, or `discard`."""

    def __init__(self, path: str, place: str) -> None:
        self.path = path
        self._place = place
        self.file: BinaryIO = open(path, "wb", buffering=_BUFFER)  # noqa: SIM115 (closed by seal or discard)

    def write(self, data: bytes) -> None:
        """Append bytes; OutputError when the disk is full."""
        with told(self._place):
            self.file.write(data)

    def seal(self, durable: bool = False) -> None:
        """End writing; `durable` waits until the storage has it."""
        with told(self._place):
            if not self.file.closed:
                self.file.flush()
                if durable:
                    os.fsync(self.file.fileno())
                self.file.close()

    def discard(self) -> None:
        """Remove it, whatever state it is in."""
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            os.unlink(self.path)


@contextmanager
def told(place: str, doing: str = "written") -> Iterator[None]:
    """Turn whatever a file system raises into an OutputError that names the place."""
    try:
        yield
    except GristmillError:
        raise
    except OSError as error:
        raise OutputError(f"{place} can't be {doing}: {error.strerror or error}") from error
    except Exception as error:  # (file systems raise what their libraries raise)
        raise OutputError(f"{place} can't be {doing}: {type(error).__name__}: {error}") from error


def open_store(url: str, durable: bool = False) -> Store:
    """Return the store of a folder; `durable`: local files are on the disk before they become visible."""
    if url.startswith("file://"):
        url = unquote(url.removeprefix("file://"))
    return RemoteStore(url) if "://" in url else LocalStore(url, durable)


class LocalStore:
    """A folder of this machine; see `Store`."""

    def __init__(self, url: str, durable: bool) -> None:
        self.url = url.rstrip("/") or "/"
        self._durable = durable

    def draft(self) -> Draft:
        """See `Store`."""
        path = self._path(f"{TEMPORARY}/{secrets.token_hex(8)}")
        with told(self.url):
            try:
                return Draft(path, self.url)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                return Draft(path, self.url)

    def publish(self, draft: Draft, name: str) -> None:
        """See `Store`."""
        draft.seal(self._durable)
        path = self._path(name)
        with told(path):
            try:
                os.replace(draft.path, path)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.replace(draft.path, path)
            self._settle(path)

    def claim(self, draft: Draft, name: str) -> bool:
        """See `Store`."""
        draft.seal(self._durable)
        path = self._path(name)
        with told(path):
            try:
                os.link(draft.path, path)
            except FileExistsError:
                return False
            finally:
                draft.discard()
            self._settle(path)
        return True

    def read(self, name: str) -> bytes | None:
        """See `Store`."""
        with told(self._path(name), "read"):
            try:
                with open(self._path(name), "rb") as file:
                    return file.read()
            except FileNotFoundError:
                return None

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        """See `Store`."""
        return [self.read(name) for name in names]

    def read_ends(self, files: Sequence[tuple[str, int]], length: int) -> list[bytes | None]:
        """See `Store`."""
        return [self._read_end(name, size, length) for name, size in files]

    def open(self, name: str) -> BinaryIO:
        """See `Store`."""
        with told(self._path(name), "read"):
            return open(self._path(name), "rb", buffering=_BUFFER)

    def list(self, folder: str = "", deep: bool = False) -> dict[str, int]:
        """See `Store`."""
        found: dict[str, int] = {}
        prefix = f"{folder}/" if folder else ""
        with (
            told(self._path(folder), "read"),
            suppress(FileNotFoundError),
            os.scandir(self._path(folder)) as entries,
        ):
            for entry in entries:
                if entry.is_file():
                    with suppress(FileNotFoundError):
                        found[prefix + entry.name] = entry.stat().st_size
                elif deep:
                    found |= self.list(prefix + entry.name, deep)
        return found

    def size(self, name: str) -> int | None:
        """See `Store`."""
        with told(self._path(name), "read"):
            try:
                return os.stat(self._path(name)).st_size
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        """See `Store`."""
        path = self._path(name)
        with told(path, "removed"), suppress(FileNotFoundError):
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    def _path(self, name: str) -> str:
        return f"{self.url}/{name}"

    def _settle(self, path: str) -> None:
        if self._durable:
            handle = os.open(os.path.dirname(path), os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _read_end(self, name: str, size: int, length: int) -> bytes | None:
        with told(self._path(name), "read"):
            try:
                handle = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            try:
                return os.pread(handle, length, max(0, size - length))
            finally:
                os.close(handle)


class RemoteStore:
    """A folder of a file system of fsspec; see `Store`."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self.url = url.rstrip("/")
        if any(character in url for character in "*?["):
            raise OutputError(f"{url} has characters of a glob; choose an output without * ? [")
        with told(self.url, "opened"):
            try:
                self._fs, self._root = url_to_fs(self.url)
            except ImportError as error:
                raise OutputError(f"{url} needs a package that is not installed: {error}") from error
        self._root = self._root.rstrip("/")
        self._atomic = url.partition("://")[0] in _ATOMIC

    def draft(self) -> Draft:
        """See `Store`."""
        with told(tempfile.gettempdir()):
            handle, path = tempfile.mkstemp(prefix="gristmill-")
            os.close(handle)
            return Draft(path, path)

    def publish(self, draft: Draft, name: str) -> None:
        """See `Store`."""
        draft.seal()
        target = self._path(name)
        with told(f"{self.url}/{name}"):
            if self._atomic:
                self._fs.put_file(draft.path, target)
            else:
                passing = self._path(f"{TEMPORARY}/{secrets.token_hex(8)}")
                self._fs.makedirs(passing.rpartition("/")[0], exist_ok=True)
                self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._fs.put_file(draft.path, passing)
                self._fs.mv(passing, target)
        draft.discard()

    def claim(self, draft: Draft, name: str) -> bool:
        """See `Store`; between looking and publishing is a moment in which two may both succeed."""
        if self.read(name) is not None:
            draft.discard()
            return False
        self.publish(draft, name)
        return True

    def read(self, name: str) -> bytes | None:
        """See `Store`."""
        with told(f"{self.url}/{name}", "read"):
            try:
                return bytes(self._fs.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        """See `Store`."""
        if not names:
            return []
        with told(self.url, "read"):
            paths = [self._path(name) for name in names]
            return [self._answer(data) for data in self._fs.cat_ranges(paths, 0, None, on_error="return")]

    def read_ends(self, files: Sequence[tuple[str, int]], length: int) -> list[bytes | None]:
        """See `Store`."""
        paths = [self._path(name) for name, _ in files]
        starts = [max(0, size - length) for _, size in files]
        with told(self.url, "read"):
            ends = self._fs.cat_ranges(paths, starts, [size for _, size in files], on_error="return")
            return [self._answer(end) for end in ends]

    def open(self, name: str) -> BinaryIO:
        """See `Store`."""
        with told(f"{self.url}/{name}", "read"):
            file: BinaryIO = self._fs.open(self._path(name), "rb")
            return file

    def list(self, folder: str = "", deep: bool = False) -> dict[str, int]:
        """See `Store`."""
        path = self._path(folder).rstrip("/")
        with told(f"{self.url}/{folder}", "read"), suppress(FileNotFoundError):
            self._fs.invalidate_cache()
            found = self._fs.find(path, maxdepth=None if deep else 1, detail=True)
            below = len(self._root) + 1
            return {name[below:]: info["size"] for name, info in found.items() if info["type"] == "file"}
        return {}

    def size(self, name: str) -> int | None:
        """See `Store`."""
        with told(f"{self.url}/{name}", "read"):
            try:
                self._fs.invalidate_cache()
                return int(self._fs.info(self._path(name))["size"])
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        """See `Store`."""
        with told(f"{self.url}/{name}", "removed"), suppress(FileNotFoundError):
            self._fs.invalidate_cache()
            self._fs.rm(self._path(name), recursive=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @staticmethod
    def _answer(answer: Any) -> bytes | None:
        if isinstance(answer, FileNotFoundError):
            return None
        if isinstance(answer, Exception):
            raise answer
        return bytes(answer)
