"""Reading content: no byte is handed out before its block was found to be what was written.

A block that is not is read again from each copy that the storage has. What a collector has set aside is still read.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from gristmill.volumes import blocks
from gristmill.volumes.blocks import BLOCK_BYTES, Manifest
from gristmill.volumes.errors import Damaged, NotThere, StorageFailed
from gristmill.volumes.names import TRASH, content_key
from gristmill.volumes.port import Backend, Entry

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: blocks that are fetched at once where content is read from front to back
_MOST_AHEAD = 8
#: times that content is looked for, which may be moved to and from the trash meanwhile
_LOOKS = 3


def locate(backend: Backend, sha256: str, file: str) -> tuple[str, Entry]:
    """Return the key of content, and what is there. NotThere where it is nowhere; `file` is for the error."""
    for _ in range(_LOOKS):
        key = content_key(sha256)
        entry = backend.stat(key)
        if entry is not None:
            return key, entry
        for found in aside(backend, sha256):
            return found
    raise NotThere(f"{file}: its content {sha256} is not in {backend.url}: put the file again")


def aside(backend: Backend, sha256: str) -> Iterator[tuple[str, Entry]]:
    """Yield keys of content that was set aside, and what is there; what was set aside last comes first."""
    for entry in sorted(backend.list(TRASH, sha256), key=lambda entry: entry.name, reverse=True):
        yield f"{TRASH}/{entry.name}", entry


def places(backend: Backend, sha256: str) -> Iterator[str]:
    """Yield where content may be; its place is last, too, as it may come back while one looks elsewhere."""
    yield content_key(sha256)
    for key, _ in aside(backend, sha256):
        yield key
    yield content_key(sha256)


def whole_aside(backend: Backend, sha256: str, size: int) -> str | None:
    """Return the key of content that was set aside and is whole: what was mended has left damaged content there."""
    for key, entry in aside(backend, sha256):
        if entry.bytes == size + blocks.end_bytes(size) and is_whole(backend, key, sha256, size):
            return key
    return None


def is_whole(backend: Backend, key: str, sha256: str, size: int, *, every: bool = False) -> bool:
    """Return whether of each block one of its copies is right, or `every`; False where nothing is there."""
    right, end = all if every else any, size + blocks.end_bytes(size)
    try:
        found = [_manifest_in(data, sha256, size) for data in backend.copies(key, size, end)]
        manifest = next(filter(None, found), None)
        return (
            manifest is not None
            and right(found)
            and all(
                right(
                    blocks.check_of(data) == manifest.check(block)
                    for data in backend.copies(key, *blocks.block_span(block, size))
                )
                for block in range(manifest.blocks)
            )
        )
    except FileNotFoundError:
        return False
    except StorageFailed as error:
        if error.errno != errno.EIO:
            raise
        return False  # (all servers have lost it)


def _manifest_in(data: bytes, sha256: str, size: int) -> Manifest | None:
    with suppress(Damaged):
        return blocks.decode(data, sha256, size, sha256)
    return None


class Content:
    """Content at its key, read block by block, each verified; `file` is for errors."""

    def __init__(self, backend: Backend, sha256: str, file: str, size: int | None = None) -> None:
        self._backend = backend
        self._sha256 = sha256
        self._file = file
        self._key = content_key(sha256)
        self._manifest: Manifest | None = None
        self._whole = b""
        if size is None:
            self._key, entry = locate(backend, sha256, file)
            size = blocks.size_in(entry.bytes)
            if size < 0:
                raise Damaged(file, None, f"its content has {entry.bytes} bytes")
        self.size = size

    @property
    def manifest(self) -> Manifest:
        """What is known of it; read when it is first asked for, and the content with it where that is one block."""
        if self._manifest is None:
            start = 0 if self.size <= BLOCK_BYTES else self.size
            data = self._read(start, self.size + blocks.end_bytes(self.size) + 1)
            end = self.size - start
            try:
                self._manifest = blocks.decode(data[end:], self._sha256, self.size, self._file)
            except Damaged:
                self._manifest = self._mended_manifest()
            self._whole = data[:end]
        return self._manifest

    def read_blocks(self, first: int, stop: int) -> Iterator[memoryview]:
        """Yield the blocks from `first` up to `stop`, each verified."""
        manifest = self.manifest
        for data in self._pieces(first, stop):
            for piece in blocks.cut(data):
                is_right = blocks.check_of(piece) == manifest.check(first)
                yield piece if is_right else memoryview(self._mended(first))
                first += 1
        for block in range(first, stop):  # (where it is cut)
            yield memoryview(self._mended(block))

    def _pieces(self, first: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes of blocks as they are there, in pieces of whole blocks."""
        position, end = first * BLOCK_BYTES, min(self.size, stop * BLOCK_BYTES)
        if self._whole and position < end:
            data, self._whole = self._whole, b""
            yield data
            return
        looks = 0
        while position < end:
            try:
                for data in self._backend.stream(self._key, position, end, BLOCK_BYTES):
                    yield data
                    position, looks = position + len(data), 0
                return
            except FileNotFoundError:
                looks += 1
                if looks > _LOOKS:
                    raise self._moving() from None
                self._key, _ = locate(self._backend, self._sha256, self._file)

    def _read(self, start: int, stop: int) -> bytes:
        for _ in range(_LOOKS):
            try:
                return self._backend.read(self._key, start, stop)
            except FileNotFoundError:
                self._key, _ = locate(self._backend, self._sha256, self._file)
        raise self._moving()

    def _moving(self) -> NotThere:
        return NotThere(f"{self._file}: its content {self._sha256} is moved all the time: read it again")

    def _mended(self, block: int) -> bytes:
        start, stop = blocks.block_span(block, self.size)
        for data in self._copies(start, stop):
            if blocks.check_of(data) == self.manifest.check(block):
                return data
        raise Damaged(self._file, block, f"bytes {start:,} to {stop:,} do not match their check")

    def _mended_manifest(self) -> Manifest:
        damage = Damaged(self._file, None, "the list of its blocks is cut")
        for data in self._copies(self.size, self.size + blocks.end_bytes(self.size) + 1):
            try:
                return blocks.decode(data, self._sha256, self.size, self._file)
            except Damaged as error:
                damage = error
        raise damage

    def _copies(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the same bytes from each copy, and from wherever else the content is: where it was mended, say."""
        for key in dict.fromkeys((self._key, *places(self._backend, self._sha256))):
            with suppress(FileNotFoundError):
                yield from self._backend.copies(key, start, stop)


class ContentFile(io.RawIOBase):
    """Content as a file that is open for reading, from any place. Damaged where a block is, and no copy of it isn't."""

    mode = "rb"

    def __init__(self, content: Content, name: str) -> None:
        self.name = name
        self.size = content.size
        self._content = content
        self._position = 0
        #: the verified blocks that were fetched last, and the number of the first
        self._first = 0
        self._blocks: list[memoryview] = []

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read from any place: yes."""
        return True

    def tell(self) -> int:
        """Return the position."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position, and return it."""
        self._check_open()
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if begin + offset < 0:
            raise ValueError(f"{self.name}: there is no position {begin + offset}")
        self._position = begin + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return up to so many bytes, fewer only at the end; all that is left where none are said."""
        self._check_open()
        left = max(0, self.size - self._position)
        size = left if size is None or size < 0 else min(size, left)
        return b"".join(self._pieces(size))

    def readall(self) -> bytes:
        """Return all that is left."""
        return self.read()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer, and return how many bytes there were."""
        self._check_open()
        view = memoryview(buffer).cast("B")
        done = 0
        for piece in self._pieces(min(len(view), max(0, self.size - self._position))):
            view[done : done + len(piece)] = piece
            done += len(piece)
        return done

    def _pieces(self, size: int) -> Iterator[memoryview]:
        while size > 0:
            block, offset = divmod(self._position, BLOCK_BYTES)
            if not self._first <= block < self._first + len(self._blocks):
                follows = block == self._first + len(self._blocks) and block > 0
                wanted = -(-(offset + size) // BLOCK_BYTES)
                count = min(_MOST_AHEAD, max(wanted, _MOST_AHEAD if follows else 1))
                stop = min(block + count, blocks.block_count(self.size))
                self._blocks = list(self._content.read_blocks(block, stop))
                self._first = block
            piece = self._blocks[block - self._first][offset : offset + size]
            self._position += len(piece)
            size -= len(piece)
            yield piece

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"{self.name} is closed")
