"""The files that a local path means. What can't be looked into is an error: left out in silence, it would be lost.

Links to folders are not followed, unless the path itself leads through them: many lead to what is listed already. They,
and what is neither a file nor a folder, are left out.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase

from gristmill.errors import InputError

_MAGIC = re.compile(r"[*?[]")
#: the part of a pattern that means all folders below
_ALL = "**"


def local_files(path: str, pattern: str) -> list[tuple[str, os.stat_result]]:
    """Return name and status of the file at `path`, of all in that folder, or of those that match `pattern`.

    OSError where something can't be looked into, InputError where a link leads nowhere. Hidden files of a folder are
    left out.
    """
    try:
        is_folder = stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        names = _matching(pattern)
    else:
        names = _below(path, (_ALL,), hidden=False) if is_folder else iter([path])
    found = []
    for name in names:
        try:
            status = os.stat(name)
        except FileNotFoundError as error:
            if os.path.islink(name):
                raise InputError(f"{name} is a link that leads nowhere") from error
            continue  # (it was removed meanwhile)
        if stat.S_ISREG(status.st_mode):
            found.append((name, status))
    return found


def _matching(pattern: str) -> Iterator[str]:
    magic = _MAGIC.search(pattern)
    if magic is None:
        return
    from fsspec.utils import glob_translate

    root, slash, begin = pattern[: magic.start()].rpartition("/")
    parts = tuple((begin + pattern[magic.start() :]).split("/"))
    matches = re.compile(glob_translate(pattern)).match
    if os.path.isdir(root + slash):
        yield from (name for name in _below(root + slash, parts, hidden=True) if matches(name))


def _below(folder: str, parts: tuple[str, ...], *, hidden: bool) -> Iterator[str]:
    """Yield files and links of a folder, and of folders below it whose names are as the `parts` of a pattern."""
    deep = _ALL in parts[0]
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] == "." and not hidden:
                continue
            if not entry.is_dir(follow_symlinks=False):
                if entry.is_symlink() or entry.is_file():
                    yield entry.path
            elif deep or (len(parts) > 1 and fnmatchcase(entry.name, parts[0])):
                with suppress(FileNotFoundError):  # (one that is removed meanwhile holds nothing)
                    yield from _below(entry.path, parts if deep else parts[1:], hidden=hidden)
