"""A folder to write to, local or through fsspec: what sinks need of a file system, and no more.

Everything is written to a draft first, and published when it is complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Protocol
from urllib.parse import unquote

from gristmill.sinks.drafts import Draft
from gristmill.sinks.local_store import LocalStore


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


def open_store(url: str, durable: bool = False) -> Store:
    """Return the store of a folder; `durable`: local files are on the disk before they become visible."""
    if url.startswith("file://"):
        url = unquote(url.removeprefix("file://"))
    if "://" not in url:
        return LocalStore(url, durable)
    from gristmill.sinks.remote_store import RemoteStore

    return RemoteStore(url)
