"""A SeaweedFS, by its filer's HTTP interface: one call an object, an atomic move, listings in pages.

On return, what was written is on as many servers as there are copies, and its name in the filer's own store: the filer
answers when it is. Neither waits for a disk: what a process wrote that is killed stays; a machine that loses its power
loses the last seconds, of content from one copy, of names from the only one.
"""

from __future__ import annotations

import errno
import math
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from gristmill.volumes.errors import StorageFailed, told
from gristmill.volumes.filer.calls import FULL_SECONDS, PATIENCE_SECONDS, BrokenOff, Calls, Dial, Patience
from gristmill.volumes.filer.copies import Copies, Servers
from gristmill.volumes.filer.draft import FilerDraft
from gristmill.volumes.filer.entries import (
    Chunk,
    are_whole,
    chunks_of,
    entry_of,
    file_path,
    folder_path,
    has_lists,
    ids_in,
)
from gristmill.volumes.forks import PerProcess
from gristmill.volumes.names import DRAFTS, NAMES
from gristmill.volumes.port import Entry, goes_on
from gristmill.volumes.written import written_now

#: the folder of the filer in which the objects are, where its URL names none
_ROOT = "/volume"
#: entries of a folder that are asked for at once
_PAGE = 4096
#: the same where few are expected
_FEW = 8
#: objects that are read at once
_THREADS = 16
#: answers that fail before an object is read from the servers
_MOST_FAILURES = 4
#: seconds that it is remembered which chunks an object has
_REMEMBERED_SECONDS = 5.0
#: how keys begin at which names are put before they are moved
_NAME_DRAFT = f"{DRAFTS}/name-"
#: seconds after which a move that is being made has ended, unless its filer has
_MOVE_SECONDS = 5.0
#: keeps a filer from compressing: what is read is as it lies there
_PLAIN = {"Content-Type": "application/x-gristmill"}
_AS_JSON = {"Accept": "application/json"}


class FilerBackend:
    """A folder of a filer; see `Backend`. `servers` tells where the copies are, `dial` makes connections.

    A filer moves an object in two steps, between which both keys have its chunks; and what is put in place of an object
    removes the chunks of that, from one who moves it, too. So content is put only where none was a moment before.
    """

    move_seconds = _MOVE_SECONDS

    def __init__(
        self,
        url: str,
        key: str,
        servers: Servers,
        dial: Dial | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        parts = urlsplit(url)
        self._root = unquote(parts.path.rstrip("/")) or _ROOT
        self._calls = Calls(f"{parts.scheme}://{parts.netloc}", key, dial, patience)
        self.url = f"{self._calls.origin}{self._root}"
        self._copies = Copies(key, servers, dial)
        self._patience = patience
        self._locked = PerProcess(threading.Lock)
        self._pool = PerProcess(lambda: ThreadPoolExecutor(_THREADS, "filer"))
        self._remembered: tuple[str, float, Sequence[Chunk]] = "", 0.0, []

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `Backend`. What the filer can't read, as it finds it damaged, is read from the servers as it is."""
        with told(f"{self.url}/{key}", "read"):
            try:
                return self._read(key, start, stop, most_failures=_MOST_FAILURES)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
            chunks = self._chunks(key, afresh=True)
            size = sum(chunk.size for chunk in chunks)
            stop = size if stop is None else min(stop, size)
            data = None
            for data in self._copies.read(chunks, start, stop):
                if len(data) == stop - start:
                    return data
            return self._read(key, start, stop) if data is None else data

    def stream(self, key: str, start: int, stop: int, unit: int) -> Iterator[bytes]:
        """See `Backend`: by one call while that goes well, and where it does not, a unit is read as `read` does."""
        while start < stop:
            before = start
            asked = {"Range": f"bytes={start}-{stop - 1}"}
            for data in self._calls.stream(self._path(key), asked, stop - start, unit):
                start += len(data)
                yield data
            if start == before:
                data = self.read(key, start, min(stop, start + unit))
                yield data
                if len(data) < min(unit, stop - start):
                    return
                start += len(data)

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `Backend`."""
        return list(self._pool.value.map(self._read_if_there, keys))

    def copies(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """See `Backend`: from each server. Where one can't be reached, the filer may know better, at once or not."""
        with told(f"{self.url}/{key}", "read"):
            for is_afresh in (False, True):
                chunks = self._chunks(key, afresh=is_afresh)
                found = list(self._copies.read(chunks, start, stop, lost=True))
                if found and (all(found) or is_afresh):
                    yield from found
                    return
            if not self._copies.unreached:  # (a filer may have it in its memory)
                raise OSError(errno.EIO, "no server has it any more")
            yield self._read(key, start, stop, most_failures=_MOST_FAILURES)

    def unreached(self) -> Sequence[str]:
        """See `Backend`."""
        return self._copies.take_unreached()

    def write(self, key: str, data: bytes, *, new: bool = False) -> None:
        """See `Backend`. `new`: a filer knows no condition, so it is looked at first."""
        with told(f"{self.url}/{key}", "written"), self._locked.value if new else nullcontext():
            if new and (there := self.stat(key)) is not None:
                raise (IsADirectoryError if there.is_folder else FileExistsError)(key)
            if key.startswith(f"{NAMES}/"):
                self._write_name(key, data)
                return
            self._put(self._path(key), [data], len(data), len(data))

    def _write_name(self, key: str, data: bytes) -> None:
        """Put a record at a key nobody reads, and move it.

        A call that broke off may be done after its repetition, and must not undo what was written since: a late move
        finds nothing. And a move may be half done, and the name written by another before it is tried again, who has
        removed what both keys had: so each try is of a record of its own.
        """
        patience = Patience()
        while True:
            draft = f"{_NAME_DRAFT}{secrets.token_hex(8)}"
            self._put(self._path(draft), [data], len(data), len(data))
            try:
                self._move(draft, key)
                return
            except BrokenOff as error:
                if not self.delete(draft):  # (it was moved, or a collection was faster)
                    if self._read_if_there(key) == data:
                        return
                    raise self._removed(key) from None
                patience.wait(self._limit(error), error)
            except OSError as error:
                if error.errno == errno.EIO and self._told(draft) is None:
                    raise self._removed(key) from None
                raise

    def draft(self) -> FilerDraft:
        """See `Backend`."""
        return FilerDraft(self, f"{DRAFTS}/{secrets.token_hex(8)}")

    def publish(self, draft: str, key: str) -> None:
        """Move a draft to where content is to be. StorageFailed where it is gone."""
        if not self.move(draft, key):
            raise self._removed(key)

    def move(self, key: str, to: str) -> bool:
        """See `Backend`. Content that is at `to` after a try that broke off is what was to be there, whoever put it.

        It is not moved again then, as another may have written over it: what is left at `key` is for a collection.
        """
        patience, is_again = Patience(), False
        with told(f"{self.url}/{key}", "moved"):
            while True:
                try:
                    self._move(key, to)
                    return True
                except BrokenOff as error:
                    if self._told(to) is not None:
                        return True
                    is_again = True
                    patience.wait(self._limit(error), error)
                except OSError as error:
                    if error.errno != errno.EIO:
                        raise
                    if self._told(key) is None:
                        return is_again and self._told(to) is not None
                    patience.wait(_MOVE_SECONDS, error)  # (another has moved it, and put it again)

    def _move(self, key: str, to: str) -> None:
        """Try once to move an object."""
        source = quote(unquote(self._path(key)), safe="")
        self._calls.call("POST", f"{self._path(to)}?mv.from={source}", expected=(204,), most_failures=1)

    def _removed(self, key: str) -> StorageFailed:
        """Return what to say where a collection was faster."""
        return StorageFailed(f"{self.url}/{key}: its draft was removed while it waited; write it again")

    def _limit(self, error: OSError) -> float:
        """Return for how many seconds a call is tried again."""
        return min(FULL_SECONDS, self._patience) if error.errno == errno.ENOSPC else self._patience

    def stat(self, key: str) -> Entry | None:
        """See `Backend`."""
        with told(f"{self.url}/{key}", "looked at"):
            found = self._told(key)
            if found is not None:
                return entry_of(found)
            return Entry(key.rpartition("/")[2], is_folder=True) if self._is_filled(key) else None

    def list(self, folder: str, prefix: str = "") -> list[Entry]:
        """See `Backend`. A filer keeps folders that were emptied: they are left out."""
        with told(f"{self.url}/{folder}", "listed"):
            entries = list(self._entries(folder, _FEW if prefix else _PAGE, prefix))
            folders = [
                f"{folder}/{entry.name}" if folder else entry.name for entry in entries if entry.is_folder
            ]
            filled = dict(zip(folders, self._pool.value.map(self._is_filled, folders), strict=True))
            return [
                entry
                for entry in entries
                if not entry.is_folder or filled[f"{folder}/{entry.name}" if folder else entry.name]
            ]

    def walk(self, folder: str) -> Iterator[tuple[str, Entry]]:
        """See `Backend`."""
        with told(f"{self.url}/{folder}", "listed"):
            for entry in self._entries(folder):
                key = f"{folder}/{entry.name}"
                if entry.is_folder:
                    yield from self.walk(key)
                else:
                    yield key, entry

    def shares(self, key: str, *others: str) -> bool:
        """See `Backend`."""
        with told(f"{self.url}/{key}", "looked at"):
            found = self._told(key)
            if found is None:
                return False
            entries = (self._told(other) for other in others)
            return any(entry and not ids_in(found).isdisjoint(ids_in(entry)) for entry in entries)

    def delete(self, key: str, *, leave_bytes: bool = False) -> bool:
        """See `Backend`. Nobody knows which name a name's draft was for: its few bytes are always left."""
        with told(f"{self.url}/{key}", "removed"):
            if self._told(key) is None:  # (a filer says the same of what is not there)
                return False
            leave = "?skipChunkDeletion=true" if leave_bytes or key.startswith(_NAME_DRAFT) else ""
            self._calls.call("DELETE", self._path(key) + leave, expected=(204,))
            return True

    @contextmanager
    def exclusive(self, key: str) -> Iterator[None]:
        """See `Backend`: only threads of this process, a filer has nothing for others."""
        with self._locked.value:
            yield

    def now(self) -> float:
        """See `Backend`: the time that an object gets which is written now."""
        return written_now(self)

    def write_piece(self, key: str, offset: int, piece: Iterable[bytes], size: int) -> None:
        """Have bytes of an object at an offset; the same again does no harm."""
        with told(f"{self.url}/{key}", "written"):
            self._put(f"{self._path(key)}?offset={offset}", piece, size, offset + size)

    def confirm(self, key: str, size: int) -> None:
        """Raise StorageFailed where an object that was written in pieces is gone, or has not all of its bytes."""
        with told(f"{self.url}/{key}", "written"):
            try:
                chunks = self._chunks(key, afresh=True)
            except FileNotFoundError:
                raise StorageFailed(
                    f"{self.url}/{key} was removed while it was written: write it again"
                ) from None
            if not are_whole(chunks, size):
                raise StorageFailed(
                    f"{self.url}/{key} was written with {size:,} bytes and has not all of them: write it again"
                )

    def _put(self, target: str, body: Iterable[bytes], length: int, size: int) -> None:
        """Have bytes in an object, which then has so many."""
        answer = self._calls.call(
            "PUT", target, body=body, expected=(201,), headers={**_PLAIN, "Content-Length": str(length)}
        )
        found = answer.told().get("size", 0)
        if found != size:
            raise StorageFailed(f"{self.url} was given {size:,} bytes to keep and has {found:,}")

    def _read(self, key: str, start: int, stop: int | None, most_failures: float = math.inf) -> bytes:
        headers = {} if not start and stop is None else {"Range": f"bytes={start}-{_last(stop)}"}
        answer = self._calls.call(
            "GET",
            self._path(key),
            expected=(200, 206, 404, 416),
            headers=headers,
            most_failures=most_failures,
        )
        if answer.status == 404:
            raise FileNotFoundError(key)
        if answer.status == 416:  # (it begins where the object has ended)
            return b""
        return answer.body if answer.status == 206 else answer.body[start:stop]

    def _path(self, key: str) -> str:
        return file_path(self._root, key)

    def _read_if_there(self, key: str) -> bytes | None:
        try:
            return self.read(key)
        except FileNotFoundError:
            return None

    def _told(self, key: str, more: str = "") -> dict[str, Any] | None:
        """Return what the filer tells of an object."""
        answer = self._calls.call("GET", f"{self._path(key)}?metadata=true{more}", expected=(200, 404))
        if answer.status == 404:
            if self._remembered[0] == key:
                self._remembered = "", 0.0, []
            return None
        return dict(answer.told())

    def _chunks(self, key: str, *, afresh: bool = False) -> Sequence[Chunk]:
        """Return the chunks of an object: a large one has many, and is read block by block."""
        remembered, since, chunks = self._remembered
        if afresh or remembered != key or time.monotonic() - since > _REMEMBERED_SECONDS:
            found = self._told(key)
            if found is not None and has_lists(found):
                found = self._told(key, "&resolveManifest=true")
            if found is None:
                raise FileNotFoundError(key)
            chunks = chunks_of(found)
            self._remembered = key, time.monotonic(), chunks
        return chunks

    def _is_filled(self, folder: str) -> bool:
        """Return whether a file is somewhere in a folder."""
        return any(
            not entry.is_folder or self._is_filled(f"{folder}/{entry.name}")
            for entry in self._entries(folder, _FEW)
        )

    def _entries(self, folder: str, page: int = _PAGE, prefix: str = "") -> Iterator[Entry]:
        """Yield what is in a folder, also folders that were emptied, by name."""
        path, last = folder_path(self._root, folder), prefix
        while found := self._listed(path, f"?limit={page}&lastFileName={quote(last, safe='')}"):
            for entry in map(entry_of, found["Entries"] or ()):
                if not goes_on(entry.name, prefix):
                    return
                yield entry
            if not found["ShouldDisplayLoadMore"]:
                return
            last = found["LastFileName"]

    def _listed(self, path: str, query: str) -> dict[str, Any] | None:
        """Return a page of a folder; None where it is not there. OSError: a filer that can't list it says the same."""
        for _ in range(_MOST_FAILURES):
            answer = self._calls.call("GET", path + query, expected=(200, 404), headers=_AS_JSON)
            if answer.status == 200:
                return dict(answer.told())
            if self._calls.call("GET", f"{path}?metadata=true", expected=(200, 404)).status == 404:
                return None
            self._calls.renew()
        raise OSError(errno.EIO, "the filer has it, and does not list it")


def _last(stop: int | None) -> str:
    return "" if stop is None else str(stop - 1)
