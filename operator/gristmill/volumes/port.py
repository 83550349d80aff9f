"""What a content store needs of a storage: a few calls on whole objects, each of which is done or not done.

Two adapters do it: `local_backend` for a folder of this machine, `remote_backend` for what fsspec reaches. All that is
promised of files is made of these calls, once, and one suite of tests holds the adapters to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from gristmill.volumes.blocks import Bytes

#: units of a stream that are read at once where there are calls only
_RUN = 8


@dataclass(frozen=True, slots=True)
class Entry:
    """An object or a folder of objects; `name` is its last part, `modified` seconds by the storage's clock."""

    name: str
    bytes: int = 0
    modified: float = 0.0
    is_folder: bool = False


def goes_on(name: str, prefix: str) -> bool:
    """Return whether a name is one of those that `Backend.list` gives for this prefix."""
    return name.startswith(prefix) and name != prefix


class Draft(Protocol):
    """An object that nobody sees yet."""

    def write(self, data: Bytes) -> None:
        """Append bytes."""

    def publish(self, key: str) -> None:
        """Have it at a key, whole, in place of what was there; it is durable, and confirmed, on return."""

    def discard(self) -> None:
        """Remove it, whatever state it is in; nothing after `publish`."""


class Backend(Protocol):
    """Objects by their keys. A folder is there while something is in it.

    Calls raise StorageFailed, and what is said of each of FileNotFoundError and FileExistsError.
    """

    url: str
    #: seconds for which a move may have two keys with the same bytes, which go where something is put in place of
    #: either; 0 where it never has
    move_seconds: float

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return bytes of an object, fewer where it ends before. FileNotFoundError where there is none."""

    def stream(self, key: str, start: int, stop: int, unit: int) -> Iterator[bytes]:
        """Yield the bytes [start, stop) of an object as they come, in pieces of whole units, but for the last one.

        Fewer where it ends before; FileNotFoundError as `read`, also where it goes meanwhile.
        """

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the bytes of many objects, None for what is not there."""

    def copies(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the same bytes from each copy that the storage keeps, not from a cache. FileNotFoundError as `read`.

        b"" stands for a copy that can't be read, or is not where it should be.
        """

    def unreached(self) -> Sequence[str]:
        """Return who did not answer for `copies` since this was asked last: they may have more copies than it gave."""

    def write(self, key: str, data: bytes, *, new: bool = False) -> None:
        """Have an object at a key, whole, in place of what was there; it is durable, and confirmed, on return.

        `new`: FileExistsError where there is one. NotADirectoryError, IsADirectoryError where objects and folders
        exclude one another.
        """

    def draft(self) -> Draft:
        """Begin an object that is written piece by piece."""

    def move(self, key: str, to: str) -> bool:
        """Have an object at another key, and then not at this one; False where there is none."""

    def stat(self, key: str) -> Entry | None:
        """Return what is at a key; None where nothing is."""

    def list(self, folder: str, prefix: str = "") -> list[Entry]:
        """Return what is in a folder and has a name that goes on after `prefix`; nothing where it is not there."""

    def walk(self, folder: str) -> Iterator[tuple[str, Entry]]:
        """Yield keys and entries of all objects below a folder."""

    def shares(self, key: str, *others: str) -> bool:
        """Return whether an object has bytes that one at another key has, too, after a move that was half done.

        The others are looked at in their order.
        """

    def delete(self, key: str, *, leave_bytes: bool = False) -> bool:
        """Remove an object; False where there was none. `leave_bytes`: they are those of another, too (`shares`)."""

    def exclusive(self, key: str) -> AbstractContextManager[None]:
        """Keep others who ask the same away meanwhile: those whom this storage can keep away."""

    def now(self) -> float:
        """Return the time by the storage's clock, by which `Entry.modified` is told."""


def in_runs(backend: Backend, key: str, start: int, stop: int, unit: int) -> Iterator[bytes]:
    """Be the `stream` of a storage that has calls only: some units at once, each time that they are used up."""
    for begin in range(start, stop, _RUN * unit):
        end = min(stop, begin + _RUN * unit)
        data = backend.read(key, begin, end)
        yield data
        if len(data) < end - begin:
            return
