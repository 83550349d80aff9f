"""The files that a local path means. What can't be looked into is an error: left out in silence, it would be lost.

Links to folders are not followed, unless the path itself leads through them: many lead to what is listed already. They,
and what is neither a file nor a folder, are left out.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from gristmill.errors import InputError

_MAGIC = re.compile(r"[*?[]")


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
        names = _below(path, None, hidden=False) if is_folder else iter([path])
    return [(name, _status(name)) for name in names]


def _matching(pattern: str) -> Iterator[str]:
    magic = _MAGIC.search(pattern)
    if magic is None:
        return
    from fsspec.utils import glob_translate

    root, slash, rest = pattern[: magic.start()].rpartition("/")
    rest += pattern[magic.start() :]
    depth = None if "**" in rest else rest.count("/") + 1
    matches = re.compile(glob_translate(pattern)).match
    if os.path.isdir(root + slash):
        yield from (name for name in _below(root + slash, depth, hidden=True) if matches(name))


def _below(folder: str, depth: int | None, *, hidden: bool) -> Iterator[str]:
    """Yield the files, and links that lead nowhere, of a folder and those below it, `depth` levels (None: all)."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] == "." and not hidden:
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth is None or depth > 1:
                    yield from _below(entry.path, None if depth is None else depth - 1, hidden=hidden)
            elif entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)):
                yield entry.path


def _status(name: str) -> os.stat_result:
    try:
        return os.stat(name)
    except FileNotFoundError as error:
        what = "is a link that leads nowhere" if os.path.islink(name) else "was removed while it was listed"
        raise InputError(f"{name} {what}") from error
