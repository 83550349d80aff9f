"""A folder of this machine. A draft is a file on the same file system; publishing is a rename.

What is promised is on the disk on return: first the bytes, then the name, then the folder that has the name.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from gristmill.volumes.blocks import Bytes
from gristmill.volumes.errors import StorageFailed, told
from gristmill.volumes.names import DRAFTS, LOCKS, TRASH
from gristmill.volumes.port import Entry, goes_on, in_runs

#: bytes of a draft after which the kernel is to write them to the disk
_BEGIN_BYTES = 8 << 20
#: times that a folder is made, which others may remove meanwhile
_MOST_TRIES = 100


class LocalBackend:
    """A folder of this machine; see `Backend`."""

    def __init__(self, root: str) -> None:
        self.url = os.path.abspath(root)

    move_seconds = 0.0

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `Backend`."""
        with told(self._path(key), "read"), self._opened(key) as handle:
            return _read(handle, start, stop)

    def stream(self, key: str, start: int, stop: int, unit: int) -> Iterator[bytes]:
        """See `Backend`."""
        return in_runs(self, key, start, stop, unit)

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `Backend`."""
        found: list[bytes | None] = []
        for key in keys:
            try:
                found.append(self.read(key))
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                found.append(None)
        return found

    def copies(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """See `Backend`. There is one copy; the kernel is asked to forget what it has of it in memory."""
        with told(self._path(key), "read"), self._opened(key) as handle:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(handle, start, stop - start, os.POSIX_FADV_DONTNEED)
            yield _read(handle, start, stop)

    def unreached(self) -> Sequence[str]:
        """See `Backend`."""
        return ()

    def write(self, key: str, data: bytes, *, new: bool = False) -> None:
        """See `Backend`."""
        draft = self.draft()
        try:
            draft.write(data)
            draft.publish(key, new=new)
        finally:
            draft.discard()

    def draft(self) -> LocalDraft:
        """See `Backend`."""
        path = self._path(f"{DRAFTS}/{secrets.token_hex(8)}")
        with told(self.url, "written"):
            try:
                return LocalDraft(self, path)
            except FileNotFoundError:
                self.make_folder(self._path(TRASH))  # (while there is room: `gc` needs it on a full disk)
                self.make_folder(os.path.dirname(path))
                return LocalDraft(self, path)

    def move(self, key: str, to: str) -> bool:
        """See `Backend`."""
        source = self._path(key)
        with told(source, "moved"):
            while os.path.exists(source):
                self.make_folder(os.path.dirname(self._path(to)))
                with suppress(FileNotFoundError):  # (a folder was removed meanwhile, or the source)
                    os.rename(source, self._path(to))
                    _sync_folder(os.path.dirname(self._path(to)))
                    self._prune(key)
                    return True
        return False

    def stat(self, key: str) -> Entry | None:
        """See `Backend`."""
        path = self._path(key)
        with told(path, "looked at"):
            try:
                status = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
            name = os.path.basename(path)
            if stat.S_ISDIR(status.st_mode):
                return Entry(name, is_folder=True) if _is_filled(path) else None
            return Entry(name, status.st_size, status.st_mtime)

    def list(self, folder: str, prefix: str = "") -> list[Entry]:
        """See `Backend`. A folder that a process left empty which was killed is left out."""
        found = []
        with (
            told(self._path(folder), "listed"),
            suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(self._path(folder)) as entries,
        ):
            for entry in entries:
                if not goes_on(entry.name, prefix):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if not folder or _is_filled(entry.path):  # (the volume's own make it one, also empty)
                        found.append(Entry(entry.name, is_folder=True))
                    continue
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    found.append(Entry(entry.name, status.st_size, status.st_mtime))
        return found

    def walk(self, folder: str) -> Iterator[tuple[str, Entry]]:
        """See `Backend`."""
        for entry in self.list(folder):
            key = f"{folder}/{entry.name}"
            if entry.is_folder:
                yield from self.walk(key)
            else:
                yield key, entry

    def shares(self, key: str, *others: str) -> bool:
        """See `Backend`: a move is one step here."""
        return False

    def delete(self, key: str, *, leave_bytes: bool = False) -> bool:
        """See `Backend`."""
        path = self._path(key)
        with told(path, "removed"):
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return False
            _sync_folder(os.path.dirname(path))
            self._prune(key)
            return True

    @contextmanager
    def exclusive(self, key: str) -> Iterator[None]:
        """See `Backend`: processes of this machine, and of others where the file system passes locks on."""
        number = hashlib.sha256(key.encode()).hexdigest()[:2]
        path = self._path(f"{LOCKS}/{number}")
        with told(path, "locked"):
            self.make_folder(os.path.dirname(path))
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        try:
            with told(path, "locked"):
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def now(self) -> float:
        """See `Backend`: the time at which a file is made."""
        draft = self.draft()
        try:
            return os.stat(draft.path).st_mtime
        finally:
            draft.discard()

    def place(self, source: str, key: str, *, new: bool) -> None:
        """Have a file of the same file system at a key. FileExistsError where one is there and it has to be new."""
        path = self._path(key)
        while True:
            try:
                (os.link if new else os.replace)(source, path)
            except FileNotFoundError:
                if not os.path.exists(source):
                    raise StorageFailed(
                        f"{path}: its draft was removed while it waited; write it again"
                    ) from None
                self.make_folder(os.path.dirname(path))
            except (IsADirectoryError, FileExistsError):
                if not os.path.isdir(path) or _is_filled(path):
                    raise
                _remove_empty(path)
            else:
                _sync_folder(os.path.dirname(path))
                return

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it, durably, unless they are there."""
        reason = "it is removed all the time"
        for _ in range(_MOST_TRIES):
            if os.path.isdir(path):
                return
            if os.path.exists(path) and not os.path.isdir(path):
                raise NotADirectoryError(path)
            above = os.path.dirname(path)
            self.make_folder(above)
            try:
                os.mkdir(path)
                _sync_folder(above)
            except (FileExistsError, FileNotFoundError) as error:
                reason = str(error.strerror)  # (or it was made, or that above it removed, meanwhile)
        raise StorageFailed(f"{path} can't be made: {reason}")

    def _path(self, key: str) -> str:
        return f"{self.url}/{key}"

    @contextmanager
    def _opened(self, key: str) -> Iterator[int]:
        handle = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield handle
        finally:
            os.close(handle)

    def _prune(self, key: str) -> None:
        """Remove the folders of what was removed, up to one in which something is: a folder is there for its files."""
        folder = key.rpartition("/")[0]
        with suppress(OSError):
            while "/" in folder:
                os.rmdir(self._path(folder))
                folder = folder.rpartition("/")[0]


class LocalDraft:
    """A file in the folder of drafts; see `Draft`."""

    def __init__(self, backend: LocalBackend, path: str) -> None:
        self.path = path
        self._backend = backend
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 (closed by publish or discard)
        self._is_there = True
        self._pid = os.getpid()
        self._size = 0
        self._begun = 0

    def write(self, data: Bytes) -> None:
        """See `Draft`. The kernel is told to begin with the disk, so that less is left to do in the end."""
        with told(self._backend.url, "written"):
            rest = memoryview(data)
            self._size += len(rest)
            while rest:
                rest = rest[self._file.write(rest) :]
            if self._size - self._begun >= _BEGIN_BYTES and hasattr(os, "posix_fadvise"):
                # (what is not on the disk yet is written, and stays in memory)
                begun, self._begun = self._begun, self._size
                os.posix_fadvise(self._file.fileno(), begun, self._size - begun, os.POSIX_FADV_DONTNEED)

    def publish(self, key: str, *, new: bool = False) -> None:
        """See `Draft`; `new` as in `Backend.write`."""
        with told(f"{self._backend.url}/{key}", "written"):
            os.fsync(self._file.fileno())
            self._file.close()
            self._backend.place(self.path, key, new=new)
            self._is_there = new

    def discard(self) -> None:
        """See `Draft`."""
        with suppress(OSError):
            self._file.close()
        if self._is_there and os.getpid() == self._pid:  # (a forked child's copy: the parent goes on)
            self._is_there = False
            with suppress(OSError):
                os.unlink(self.path)


def _is_filled(folder: str) -> bool:
    """Return whether a file is somewhere in a folder."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return any(not entry.is_dir(follow_symlinks=False) or _is_filled(entry.path) for entry in entries)
    return False


def _remove_empty(folder: str) -> None:
    """Remove folders in which no file is; one that gets a file meanwhile stays."""
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(path)


def _read(handle: int, start: int, stop: int | None) -> bytes:
    if stop is None:
        stop = os.fstat(handle).st_size
    data = os.pread(handle, max(0, stop - start), start)
    while len(data) < stop - start:  # a call reads 2 GiB at most
        more = os.pread(handle, stop - start - len(data), start + len(data))
        if not more:
            break
        data += more
    return data


def _sync_folder(path: str) -> None:
    """Have what was done in a folder on the disk; where the folder was removed meanwhile, that it was."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        _sync_folder(os.path.dirname(path))
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
