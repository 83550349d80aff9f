"""The content store: files put, named, read and listed. `naming` says what makes them safe from `gc`."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

from gristmill.volumes import records
from gristmill.volumes.blocks import BLOCK_BYTES, Bytes
from gristmill.volumes.errors import NotThere
from gristmill.volumes.names import check_digest, check_folder, check_name, name_key
from gristmill.volumes.naming import Names, in_batches
from gristmill.volumes.port import Backend, Entry
from gristmill.volumes.reading import Content, ContentFile
from gristmill.volumes.records import MOST_INLINE, Fence, Record, Token
from gristmill.volumes.writing import ContentWriter

#: bytes that a file which is read in small pieces takes at once from the block in memory
_BUFFER_BYTES = 128 << 10

#: what is put: bytes, a file's path, or a file that is open for reading
Source = Bytes | str | os.PathLike[str] | BinaryIO


@dataclass(frozen=True, slots=True)
class Stored:
    """Content that is stored: its sha256 (hexadecimal) and bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class File:
    """What is known of a file or folder; `sha256` is "" where a listing did not have to read it, and of folders."""

    path: str
    size: int = 0
    sha256: str = ""
    modified: float = 0.0
    is_folder: bool = False


class ContentStore:
    """The files of a volume. Errors are VolumeErrors, each also what Python has for files."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.names = Names(backend)

    def put(self, source: Source) -> Stored:
        """Store content, once for the same, and return its digest: for `name`, or to be read by.

        Content that no name points at is collected some time after it was put.
        """
        with ContentWriter(self.backend) as writer, _opened(source) as file:
            _copy(file, writer)
            manifest = writer.publish()
        return Stored(manifest.sha256, manifest.size)

    def name(self, path: str, sha256: str, *, token: Token | None = None, new: bool = False) -> Stored:
        """Have a name point at content that was put. NotThere where the content is not, Damaged where it is cut.

        `token`: only where no later holder of the lock has written it, Fenced else; how exact that is, is the
        storage's. `new`: Taken where the name is.
        """
        check_name(path)
        manifest = Content(
            self.backend, check_digest(sha256), path
        ).manifest  # (so that cut content gets no name)
        stored = Stored(sha256, manifest.size)
        self.names.point(path, Record(stored.size, sha256, fence=Fence.of(token)), token, new=new)
        return stored

    def save(self, path: str, source: Source, *, token: Token | None = None, new: bool = False) -> Stored:
        """Put content and name it; as `put` and `name`, and small content (3 KiB) is stored with its name."""
        with self.create(path, token=token, new=new) as writer, _opened(source) as file:
            _copy(file, writer)
            return writer.commit()

    def create(self, path: str, *, token: Token | None = None, new: bool = False) -> FileWriter:
        """Return a writer of a file. Nothing is named where it is left without `commit`."""
        return FileWriter(self, check_name(path), token, new)

    def copy(self, path: str, to: str, *, new: bool = False) -> None:
        """Have another name for the same content; no content is copied. NotThere."""
        record = self.names.read(check_name(path))
        self.names.point(check_name(to), Record(record.size, record.sha256, record.inline), new=new)

    def remove(self, path: str, *, token: Token | None = None) -> None:
        """Remove a name; its content goes with the next collections. NotThere where there is none, Fenced."""
        self.names.remove(check_name(path), token)

    def open(self, path: str) -> OpenFile:
        """Open a file for reading, from any place; what is read is verified. NotThere, Damaged."""
        record = self.names.read(check_name(path))
        if record.inline is not None:
            return OpenFile(io.BytesIO(record.inline), record.size, record.sha256)
        content = Content(self.backend, record.sha256, path, record.size)
        return OpenFile(ContentFile(content, path), content.size, record.sha256)

    def open_content(self, sha256: str) -> OpenFile:
        """Open content by its digest; what is read is verified. NotThere, Damaged."""
        content = Content(self.backend, check_digest(sha256), sha256)
        return OpenFile(ContentFile(content, sha256), content.size, sha256)

    def read_blocks(self, path: str) -> Iterator[Bytes]:
        """Yield a file's content in pieces of at most a block (1 MiB), each verified. NotThere, Damaged."""
        record = self.names.read(check_name(path))
        if record.inline is not None:
            yield record.inline
            return
        content = Content(self.backend, record.sha256, path, record.size)
        yield from content.read_blocks(0, content.manifest.blocks)

    def stat(self, path: str) -> File:
        """Return what is known of a file, or of a folder; "" is the volume. NotThere, Damaged."""
        entry = self._entry(path)
        if entry.is_folder:
            return File(path, is_folder=True)
        record = self.names.read(path)
        return File(path, record.size, record.sha256, entry.modified)

    def is_folder(self, path: str) -> bool:
        """Return whether a folder is there, or a file, however damaged its name is. NotThere."""
        return self._entry(path).is_folder

    def _entry(self, path: str) -> Entry:
        if not check_folder(path):
            if not self.backend.list(""):
                raise NotThere(
                    f"there is no volume at {self.backend.url}: the first file that is put makes it"
                )
            return Entry("", is_folder=True)
        entry = self.backend.stat(name_key(path))
        if entry is None:
            raise NotThere(f"{path} is not in {self.backend.url}")
        return entry

    def list(self, folder: str = "") -> list[File]:
        """Return what is in a folder, sorted by name; nothing where there is no such folder. Damaged.

        A listing of the storage tells the sizes of small files. The records of others are read, a thousand at once.
        """
        prefix = f"{check_folder(folder)}/" if folder else ""
        entries = self.backend.list(name_key(folder))
        files = self._files((prefix + entry.name, entry) for entry in entries)
        return sorted(files, key=lambda file: file.path)

    def walk(self, folder: str = "") -> Iterator[File]:
        """Yield all files below a folder, in no order. Damaged."""
        return self._files(self.names.walk(check_folder(folder)))

    def _files(self, entries: Iterable[tuple[str, Entry]]) -> Iterator[File]:
        for batch in in_batches(entries):
            sizes = {path: records.listed_size(entry.bytes) for path, entry in batch if not entry.is_folder}
            unknown = [path for path, size in sizes.items() if size is None]
            found = dict(self.names.read_many(unknown))
            for path, entry in batch:
                if entry.is_folder:
                    yield File(path, is_folder=True)
                elif (size := sizes[path]) is not None:
                    yield File(path, size, "", entry.modified)
                elif isinstance(record := found.get(path), Record):
                    yield File(path, record.size, record.sha256, entry.modified)
                elif record is not None:
                    raise record


class OpenFile(io.BufferedReader):
    """A file that is open for reading, with its `size` in bytes and its `sha256`."""

    def __init__(self, raw: io.RawIOBase | io.BytesIO, size: int, sha256: str) -> None:
        super().__init__(raw, _BUFFER_BYTES)
        self.size = size
        self.sha256 = sha256


class FileWriter:
    """A file that is being written; leaving it without `commit` discards it."""

    def __init__(self, store: ContentStore, path: str, token: Token | None, new: bool) -> None:
        self._store = store
        self._path = path
        self._token = token
        self._new = new
        self._content = ContentWriter(store.backend)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    @property
    def size(self) -> int:
        """How many bytes were written."""
        return self._content.size

    def write(self, data: Bytes) -> int:
        """Append bytes, and return how many. StorageFailed when the storage is full."""
        return self._content.write(data)

    def commit(self) -> Stored:
        """Name what was written: content first, durable and confirmed, then the name. Taken, Fenced."""
        manifest = self._content.finish()
        inline = None
        if manifest.size <= MOST_INLINE:
            inline = self._content.held()
        else:
            self._content.publish(anew=False)
        record = Record(manifest.size, manifest.sha256, inline, Fence.of(self._token))
        self._store.names.point(self._path, record, self._token, new=self._new)
        return Stored(manifest.sha256, manifest.size)

    def discard(self) -> None:
        """Remove what was not committed."""
        self._content.discard()


def _opened(source: Source) -> AbstractContextManager[BinaryIO]:
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        return open(source, "rb")
    return nullcontext(source)


def _copy(file: BinaryIO, writer: ContentWriter | FileWriter) -> None:
    while data := file.read(BLOCK_BYTES):
        writer.write(data)
