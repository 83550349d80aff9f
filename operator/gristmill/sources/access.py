"""Reading listed files, and refusing those that changed since: a job never mixes two versions of its input.

A file is checked *after* its bytes were read, so what was read is what the plan listed. A local file is
opened anew for each read (5 µs), which also notices that another file has taken its place.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gristmill.errors import InputChanged, InputError
from gristmill.sources.listing import Entry, local_etag, open_filesystem, remote_etag

#: read(start, stop) -> the bytes; stop None: to the end
Reader = Callable[[int, int | None], bytes]


class FileTable:
    """The files of a plan. `to_json` keeps them compact: names without what they have in common."""

    def __init__(self, names: Sequence[str], sizes: Sequence[int | None], etags: Sequence[str]) -> None:
        self.names = names
        self.sizes = sizes
        self.etags = etags

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> FileTable:
        """Make it from a listing."""
        return cls([e.name for e in entries], [e.size for e in entries], [e.etag for e in entries])

    def to_json(self) -> dict[str, Any]:
        """Return it as part of a plan."""
        prefix = os.path.commonprefix(self.names)  # noqa: RUF071 (of characters, as is meant)
        names = [name[len(prefix) :] for name in self.names]
        return {"prefix": prefix, "names": names, "sizes": list(self.sizes), "etags": list(self.etags)}

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> FileTable:
        """Read what `to_json` returned."""
        return cls([table["prefix"] + name for name in table["names"]], table["sizes"], table["etags"])

    def marks(self) -> dict[str, tuple[int | None, str]]:
        """Return size and mark of each file by its name."""
        return dict(zip(self.names, zip(self.sizes, self.etags, strict=True), strict=True))

    def __len__(self) -> int:
        return len(self.names)

    def check(self, file: int) -> None:
        """Raise InputChanged when a file is not what was listed, InputError when that can't be told."""
        name = self.names[file]
        with _reading(name):
            if "://" not in name:
                status = os.stat(name)
                if stat.S_ISDIR(status.st_mode):
                    raise IsADirectoryError(name)
                self._compare(file, status.st_size, local_etag(status))
            else:
                filesystem, path = open_filesystem(name)
                filesystem.invalidate_cache()
                info = filesystem.info(path)
                self._compare(file, info.get("size"), remote_etag(info))

    @contextmanager
    def open(self, file: int) -> Iterator[Reader]:
        """Give a function that reads byte ranges of a file; on leaving, the file is checked as by `check`."""
        name = self.names[file]
        with _reading(name):
            if "://" in name:
                filesystem, path = open_filesystem(name)
                yield lambda start, stop: bytes(filesystem.cat_file(path, start=start, end=stop))
                self.check(file)
                return
            handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield lambda start, stop: _pread(handle, start, stop)
                status = os.fstat(handle)
                self._compare(file, status.st_size, local_etag(status))
            finally:
                os.close(handle)

    def read_range(self, read: Reader, file: int, start: int, stop: int) -> bytes:
        """Read exactly [start, stop). When there is less or more, the file changed, or ranges don't work."""
        data = read(start, stop)
        if len(data) != stop - start:
            self.check(file)
            raise InputError(f"{self.names[file]}: asked for {stop - start:,} bytes, got {len(data):,}")
        return data

    def _compare(self, file: int, size: int | None, etag: str) -> None:
        name = self.names[file]
        if size != self.sizes[file]:
            raise _changed(name, f"it had {self.sizes[file]:,} bytes when planned, now {size:,}")
        if etag != self.etags[file]:
            raise _changed(name, "it was written to since the job was planned")


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _changed(name, "it was there when planned, now it is gone") from error
    except IsADirectoryError as error:
        raise _changed(name, "it was a file when planned, now it is a folder") from error
    except Exception as error:  # (file systems raise what their libraries raise)
        raise InputError(f"{name} can't be read: {type(error).__name__}: {error}") from error


def _pread(handle: int, start: int, stop: int | None) -> bytes:
    if stop is None:
        stop = os.fstat(handle).st_size
    data = os.pread(handle, stop - start, start)
    while len(data) < stop - start:  # a call reads 2 GiB at most
        more = os.pread(handle, stop - start - len(data), start + len(data))
        if not more:
            break
        data += more
    return data


def _changed(name: str, how: str) -> InputChanged:
    return InputChanged(f"{name} changed: {how}; bring it back as it was, or begin the job anew")
