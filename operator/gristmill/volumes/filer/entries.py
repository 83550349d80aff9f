"""What a filer tells of its entries: files with the chunks that have their bytes, and folders.

In a filer a name is a file or a folder, and writing a file where a folder is puts it *into* the folder. So folders are
kept under names that no file has: with a backslash at the end, which names of volumes can't have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from gristmill.volumes.port import Entry

_FOLDER_MARK = "\\"
#: Go's mark of a directory in a file's mode
_IS_FOLDER = 1 << 31


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a file as the volume servers have it: under an id, at an offset of the file."""

    fid: str
    offset: int
    size: int


def file_path(root: str, key: str) -> str:
    """Return the path of an object in the filer, as it stands in a URL."""
    folder, _, name = key.rpartition("/")
    return f"{folder_path(root, folder)}/{quote(name)}"


def folder_path(root: str, folder: str) -> str:
    """Return the path of a folder in the filer, as it stands in a URL."""
    return quote(root + "".join(f"/{part}{_FOLDER_MARK}" for part in folder.split("/") if part))


def entry_of(told: dict[str, Any]) -> Entry:
    """Return what the filer tells of an entry."""
    name = str(told["FullPath"]).rpartition("/")[2]
    if told["Mode"] & _IS_FOLDER:
        return Entry(name.removesuffix(_FOLDER_MARK), is_folder=True)
    return Entry(name, told["FileSize"], datetime.fromisoformat(told["Mtime"]).timestamp())


def has_lists(told: dict[str, Any]) -> bool:
    """Return whether chunks of a file are lists of chunks, as those of very large files are."""
    return any(one.get("is_chunk_manifest") for one in told["chunks"] or ())


def ids_in(told: dict[str, Any]) -> set[str]:
    """Return the ids of a file's chunks, as the entry has them."""
    return {one["file_id"] for one in told["chunks"] or ()}


def chunks_of(told: dict[str, Any]) -> list[Chunk]:
    """Return the chunks of a file by their offsets; of those at the same one the newest."""
    newest: dict[int, tuple[int, Chunk]] = {}
    for one in told["chunks"] or ():
        chunk = Chunk(one["file_id"], one.get("offset", 0), one["size"])
        age = one.get("modified_ts_ns", 0)
        if age >= newest.get(chunk.offset, (0, chunk))[0]:
            newest[chunk.offset] = age, chunk
    return [newest[offset][1] for offset in sorted(newest)]


def are_whole(chunks: Sequence[Chunk], size: int) -> bool:
    """Return whether chunks make up a file of so many bytes, without a gap."""
    end = 0
    for chunk in chunks:
        if chunk.offset != end:
            return False
        end += chunk.size
    return end == size
