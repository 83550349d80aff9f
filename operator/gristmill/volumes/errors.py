"""What can go wrong with files of a volume, in words that name the remedy.

Each is also the exception of Python that programs expect of files, since pandas, pyarrow and fsspec know no others.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

from gristmill.errors import GristmillError


class VolumeError(GristmillError):
    """Base of all errors of this package."""


class BadName(VolumeError, ValueError):  # noqa: N818
    """What was given is no name of a file or volume, or no digest."""

    exit_code = 2


class NotThere(VolumeError, FileNotFoundError):  # noqa: N818
    """There is no file of this name, or no content of this digest."""


class Taken(VolumeError, FileExistsError):  # noqa: N818
    """A name is taken: by a file where a new one was to be made, or by what is a folder where a file was meant."""


class Fenced(VolumeError, PermissionError):  # noqa: N818
    """A write was made for one who held a lock, and a later holder has written since; or it is another lock's."""


class NotSupported(VolumeError, io.UnsupportedOperation):  # noqa: N818
    """Files of a volume can't do this: what was written is never changed."""


class Damaged(VolumeError, OSError):  # noqa: N818
    """What the storage gives back is not what was written, and no copy of it is; `block` is None in a name."""

    def __init__(self, file: str, block: int | None, reason: str) -> None:
        self.file = file
        self.block = block
        where = file if block is None else f"{file}, block {block:,}"
        super().__init__(f"{where} is damaged ({reason}): put the file again, or restore its copy")


class StorageFailed(VolumeError, OSError):  # noqa: N818
    """The storage can't do what it was asked: it is full, does not permit it, or does not answer."""


@contextmanager
def told(place: str, doing: str) -> Iterator[None]:
    """Turn whatever a file system raises into a StorageFailed that names the place.

    What is (not) there is for the caller to tell, and passes: FileNotFoundError, FileExistsError and their like.
    """
    try:
        yield
    except (GristmillError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError):
        raise
    except OSError as error:
        failed = StorageFailed(f"{place} can't be {doing}: {error.strerror or error}")
        failed.errno = error.errno
        raise failed from error
    except Exception as error:  # (file systems raise what their libraries raise)
        raise StorageFailed(f"{place} can't be {doing}: {type(error).__name__}: {error}") from error
