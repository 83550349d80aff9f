"""A folder of a file system of fsspec. A draft is a local file that is uploaded when it is complete.

Object stores show an object when its upload is complete, so it goes straight to its name; elsewhere it is
uploaded under a name of its own, and then moved.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, BinaryIO

from fsspec.core import url_to_fs

from gristmill.errors import OutputError
from gristmill.sinks.drafts import Draft, temporary_draft, told
from gristmill.sinks.layout import TEMPORARY

#: protocols of fsspec by which an object appears when its upload is complete
_ATOMIC = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "memory", "volume"}
#: protocols by which a file is made only where there is none, in one step
_EXCLUSIVE = {"volume"}


class RemoteStore:
    """A folder of a file system of fsspec; see `Store`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if any(character in url for character in "*?["):
            raise OutputError(f"{url} has characters of a glob; choose an output without * ? [")
        with told(self.url, "opened"):
            try:
                self._fs, self._root = url_to_fs(self.url)
            except ImportError as error:
                raise OutputError(f"{url} needs a package that is not installed: {error}") from error
        self._root = self._root.rstrip("/")
        protocol = url.partition("://")[0]
        self._atomic = protocol in _ATOMIC
        self._is_exclusive = protocol in _EXCLUSIVE

    def draft(self) -> Draft:
        """See `Store`."""
        return temporary_draft()

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
        """See `Store`; where storage can't do both at once, two may succeed between looking and publishing."""
        if self._is_exclusive:
            draft.seal()
            with told(f"{self.url}/{name}"):
                try:
                    self._fs.put_file(draft.path, self._path(name), mode="create")
                except FileExistsError:
                    return False
                finally:
                    draft.discard()
            return True
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
