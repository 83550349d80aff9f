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
#: the folder in which `gristmill run` keeps what it knows, and which changes all the time
_RUNS = ".gristmill"


def local_files(path: str, pattern: str) -> list[tuple[str, os.stat_result]]:
    """Return name and status of the file at `path`, of all in that folder, or of those that match `pattern`.

    OSError where something can't be looked into, InputError where a link leads nowhere. Hidden files of a folder are
    left out, and all in a `.gristmill` folder that the pattern does not name.
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


def looks_into(path: str, pattern: str, folder: str) -> bool:
    """Whether `local_files` looks into a folder, once that is there."""
    is_folder = os.path.isdir(path)
    root, parts = (path, (_ALL,)) if is_folder else _cut(pattern)
    below = os.path.relpath(os.path.realpath(folder), os.path.realpath(root))
    for name in below.split(os.sep) if below != os.curdir else ():
        parts = () if name == os.pardir else _parts_in(name, parts, hidden=not is_folder)
    return bool(parts)


def _matching(pattern: str) -> Iterator[str]:
    root, parts = _cut(pattern)
    if not parts:
        return
    from fsspec.utils import glob_translate

    matches = re.compile(glob_translate(pattern)).match
    if os.path.isdir(root):
        yield from (name for name in _below(root, parts, hidden=True) if matches(name))


def _cut(pattern: str) -> tuple[str, tuple[str, ...]]:
    """Return the folder that a pattern begins in, and its parts below that: none where it is no pattern."""
    magic = _MAGIC.search(pattern)
    if magic is None:
        return pattern, ()
    root, slash, begin = pattern[: magic.start()].rpartition("/")
    return root + slash, tuple((begin + pattern[magic.start() :]).split("/"))


def _below(folder: str, parts: tuple[str, ...], *, hidden: bool) -> Iterator[str]:
    """Yield files and links of a folder, and of folders below it whose names are as the `parts` of a pattern."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] == "." and not hidden:
                continue
            if not entry.is_dir(follow_symlinks=False):
                if entry.is_symlink() or entry.is_file():
                    yield entry.path
            elif inside := _parts_in(entry.name, parts, hidden=hidden):
                with suppress(FileNotFoundError):  # (one that is removed meanwhile holds nothing)
                    yield from _below(entry.path, inside, hidden=hidden)


def _parts_in(name: str, parts: tuple[str, ...], *, hidden: bool) -> tuple[str, ...]:
    """Return the parts of a pattern that count inside a folder; none where that is not looked into."""
    is_left_out = (name[0] == "." and not hidden) or (name == _RUNS and _RUNS not in parts)
    if not parts or is_left_out:
        return ()
    if _ALL in parts[0]:
        return parts
    return parts[1:] if fnmatchcase(name, parts[0]) else ()
