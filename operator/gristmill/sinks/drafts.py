"""A file that nobody sees yet, so that a file of the output is there whole or not at all."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gristmill.errors import OutputError

_BUFFER = 1 << 18
#: tells this process, and those that are forked from it, from others that share the folder of temporary files
_FAMILY = secrets.token_hex(4)


class Draft:
    """A file that nobody sees yet. Write to `file`; then `Store.publish`, or `discard`."""

    def __init__(self, path: str, place: str) -> None:
        self.path = path
        self._place = place
        #: set by the store that published it: there is nothing to discard then
        self.published = False
        self.file: BinaryIO = open(path, "wb", buffering=_BUFFER)  # noqa: SIM115 (closed by seal or discard)

    def write(self, data: bytes) -> None:
        """Append bytes; OutputError when the disk is full."""
        with told(self._place):
            self.file.write(data)

    def seal(self, durable: bool = False) -> None:
        """End writing; `durable` waits until the storage has it."""
        with told(self._place):
            if not self.file.closed:
                self.file.flush()
                if durable:
                    os.fsync(self.file.fileno())
                self.file.close()

    def discard(self) -> None:
        """Remove it, whatever state it is in."""
        with suppress(OSError):
            self.file.close()
        if not self.published:
            with suppress(OSError):
                os.unlink(self.path)


def temporary_draft() -> Draft:
    """Return a draft in the folder of temporary files."""
    with told(tempfile.gettempdir()):
        handle, path = tempfile.mkstemp(prefix=_prefix(os.getpid()))
        os.close(handle)
        return Draft(path, path)


def discard_drafts_of(pid: int) -> None:
    """Remove the temporary drafts of a process that was forked from this one, and is dead."""
    with suppress(OSError):  # (there may be no such folder, and no draft then)
        for path in Path(tempfile.gettempdir()).glob(f"{_prefix(pid)}*"):
            path.unlink(missing_ok=True)


def _prefix(pid: int) -> str:
    return f"gristmill-{_FAMILY}-{pid}-"


@contextmanager
def told(place: str, doing: str = "written") -> Iterator[None]:
    """Turn whatever a file system raises into an OutputError that names the place."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{place} can't be {doing}: {error.strerror or error}") from error
    except Exception as error:  # (file systems raise what their libraries raise)
        raise OutputError(f"{place} can't be {doing}: {type(error).__name__}: {error}") from error
