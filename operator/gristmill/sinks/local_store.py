"""A folder of this machine. A draft is a file on the same file system, and publishing is a rename.

Without fsspec's layers: a small part costs some 50 µs here, and jobs write many.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO

from gristmill.sinks.drafts import Draft, told
from gristmill.sinks.layout import TEMPORARY

_BUFFER = 1 << 18


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
            draft.published = True
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
            if not os.path.isdir(path):
                os.unlink(path)
                return
            try:
                shutil.rmtree(path)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:  # a late writer was faster; it can be removed again
                    raise

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
