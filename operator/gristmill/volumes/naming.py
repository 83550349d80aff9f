"""The names of a volume: each points at content, atomically, and only at content that is there and stays.

The order is what counts: content is there, durable and confirmed, before a name points at it; and after the name was
written the content is looked at once more, and what the name meant before is put back where it is gone. A collector
does it the other way round: it sets content aside, and then looks at the names. So whichever comes later sees the
other, and puts the content back; nobody's time of day matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress

from gristmill.volumes import blocks, records
from gristmill.volumes.errors import Damaged, NotThere, Taken
from gristmill.volumes.names import NAMES, content_key, name_key
from gristmill.volumes.port import Backend, Entry
from gristmill.volumes.reading import locate, whole_aside
from gristmill.volumes.records import Record, Token

#: records that are read at once
_MOST_RECORDS = 1000
#: times that content is looked for which is aside and not whole: another may be moving what is
_LOOKS = 20


class Names:
    """The names of a storage."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def read(self, path: str) -> Record:
        """Return what a name means. NotThere, Damaged."""
        try:
            return self._decoded(path, self._backend.read(name_key(path)))
        except (IsADirectoryError, NotADirectoryError):
            what = "is a folder" if self._backend.stat(name_key(path)) else "is not there: it is below a file"
            raise NotThere(f"{path} in {self._backend.url} {what}") from None
        except FileNotFoundError:
            raise NotThere(f"{path} is not in {self._backend.url}") from None

    def read_many(self, paths: list[str]) -> Iterator[tuple[str, Record | Damaged]]:
        """Yield what names mean, or how they are damaged; nothing of those that are not there."""
        found = self._backend.read_many([name_key(path) for path in paths])
        for path, data in zip(paths, found, strict=True):
            if data is not None:
                try:
                    yield path, self._decoded(path, data)
                except Damaged as error:
                    yield path, error

    def read_all(self) -> Iterator[tuple[str, Record | Damaged]]:
        """Yield what all names mean, or how they are damaged."""
        for batch in in_batches(self.walk()):
            yield from self.read_many([path for path, _ in batch])

    def walk(self, folder: str = "") -> Iterator[tuple[str, Entry]]:
        """Yield all names below a folder."""
        below = len(NAMES) + 1
        for key, entry in self._backend.walk(name_key(folder)):
            yield key[below:], entry

    def point(self, path: str, record: Record, token: Token | None = None, *, new: bool = False) -> None:
        """Have a name mean something, in place of what it meant. Fenced, Taken.

        NotThere where the content is not; the name means then what it meant before.
        """
        key = name_key(path)
        if record.inline is None:
            self.keep(path, record)
        with self._fenced(path, token):
            before = None
            if record.inline is None and not new:
                (before,) = self._backend.read_many([key])
            try:
                self._backend.write(key, record.encode(path), new=new)
            except FileExistsError:
                raise Taken(f"{path} is there already in {self._backend.url}") from None
            except IsADirectoryError:
                raise Taken(f"{path} is a folder in {self._backend.url}: choose another name") from None
            except NotADirectoryError:
                raise Taken(f"{path} can't be made in {self._backend.url}: a part of it is a file") from None
            if record.inline is None:
                try:
                    self.keep(path, record)
                except (NotThere, Damaged):
                    self._put_back(path, record, before)
                    raise

    def keep(self, path: str, record: Record) -> None:
        """See that content which a name points at is in its place: a collector may have set it aside.

        NotThere where it is nowhere, Damaged where it has another size, or is aside and not whole.
        """
        key, looks = content_key(record.sha256), 0
        while (entry := self._backend.stat(key)) is None:
            if aside := whole_aside(self._backend, record.sha256, record.size):
                self._backend.move(aside, key)
                continue
            there, _ = locate(self._backend, record.sha256, path)
            looks += there != key
            if looks > _LOOKS:
                raise Damaged(path, None, "its content is being put again, or is damaged: write it again")
        if entry.bytes != record.size + blocks.end_bytes(record.size):
            raise Damaged(path, None, f"its content has {entry.bytes:,} bytes with its checks")

    def _put_back(self, path: str, record: Record, before: bytes | None) -> None:
        """Have a name mean what it did before it was written, unless somebody has written it since."""
        key = name_key(path)
        if self._backend.read_many([key]) != [record.encode(path)]:
            return
        if before is None:
            self._backend.delete(key)
            return
        self._backend.write(key, before)
        with suppress(NotThere, Damaged):
            old = records.decode(before, path)
            if old.inline is None:  # (a collector may have set it aside in between)
                self.keep(path, old)

    def remove(self, path: str, token: Token | None = None) -> None:
        """Remove a name, also one that is damaged. NotThere where there is none, Fenced."""
        with self._fenced(path, token, (NotThere, Damaged)):
            if not self._backend.delete(name_key(path)):
                raise NotThere(f"{path} is not in {self._backend.url}")

    @contextmanager
    def _fenced(
        self, path: str, token: Token | None, open_to_all: tuple[type[Exception], ...] = (NotThere,)
    ) -> Iterator[None]:
        """Hold a name's lock from before it is seen that no later holder has written it until after it is written."""
        with self._backend.exclusive(name_key(path)) if token is not None else nullcontext():
            if token is not None:
                with suppress(*open_to_all):
                    self.read(path).fence.check(path, token)
            yield

    def _decoded(self, path: str, data: bytes) -> Record:
        """Return a record; where it is damaged, from another copy of it."""
        try:
            return records.decode(data, path)
        except Damaged as error:
            with suppress(FileNotFoundError):
                for copy in self._backend.copies(name_key(path), 0, records.MOST_BYTES + 1):
                    with suppress(Damaged):
                        return records.decode(copy, path)
            raise error


def in_batches(entries: Iterable[tuple[str, Entry]]) -> Iterator[list[tuple[str, Entry]]]:
    """Yield entries in batches of a thousand."""
    batch: list[tuple[str, Entry]] = []
    for entry in entries:
        batch.append(entry)
        if len(batch) == _MOST_RECORDS:
            yield batch
            batch = []
    if batch:
        yield batch
