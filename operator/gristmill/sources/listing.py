"""Which files a URL means, with size and mark of each: recorded in the plan, so no change goes unnoticed.

A URL is a file, a glob or a folder. A folder means all files in it, recursively, without those whose path
below it has a name that begins with a dot. Files are sorted by name. Local files (`local_files`) are listed and read
without fsspec's layers.
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from gristmill.errors import InputError
from gristmill.sources.local_files import local_files, looks_into

_ETAGS = ("ETag", "etag")
_MARKS = (*_ETAGS, "mtime", "LastModified", "last_modified", "Last-Modified", "modified", "created")


@dataclass(frozen=True)
class Entry:
    """A file as listed: absolute path or URL, bytes (None: not told), and a text that changes with it."""

    name: str
    size: int | None
    etag: str
    #: whether a byte range of it can be read
    ranged: bool = True


def resolve(url: str, base: str) -> str:
    """Return a URL unchanged, a path (or `file://`) as an absolute path; relative ones begin at `base`."""
    if url.startswith("file://"):
        url = unquote(url.removeprefix("file://").removeprefix("localhost"))
    if "://" in url:
        return url
    return os.path.normpath(os.path.join(base, os.path.expanduser(url)))


def list_files(url: str, base: str) -> list[Entry]:
    """List the files that a URL means, sorted by name. InputError when there are none, or no listing."""
    pattern = resolve(url, glob.escape(base))
    url = resolve(url, base)
    if "::" in url:
        raise InputError(f"{url}: chained URLs are not supported; name the files directly")
    try:
        entries = _list_remote(url) if "://" in url else _list_local(url, pattern)
    except InputError:
        raise
    except FileNotFoundError:
        entries = []
    except PermissionError as error:
        raise InputError(f"{error.filename or url} can't be listed: {error.strerror or error}") from error
    except ImportError as error:
        raise InputError(f"{url}: reading it needs a package that is not installed: {error}") from error
    except Exception as error:  # (file systems raise what their libraries raise)
        raise InputError(f"{url} can't be listed: {type(error).__name__}: {error}") from error
    if not entries:
        hint = "" if "://" in url else " (relative paths start at the manifest's folder)"
        raise InputError(f"{url} matches no file; check the path{hint}")
    return sorted(entries, key=lambda entry: entry.name)


def reads_folder(url: str, base: str, folder: str) -> bool:
    """Whether `list_files` looks into a local folder, once that is there."""
    path = resolve(url, base)
    return "://" not in path and looks_into(path, resolve(url, glob.escape(base)), folder)


def local_etag(status: os.stat_result) -> str:
    """Return the mark of a local file: its time of change in nanoseconds."""
    return str(status.st_mtime_ns)


def remote_etag(info: dict[str, Any]) -> str:
    """Return the mark of a remote file, or an empty text when the file system tells none."""
    return next((str(info[key]).strip('"') for key in _MARKS if info.get(key)), "")


def open_filesystem(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL and the path in it; cached by fsspec."""
    from fsspec.core import url_to_fs

    filesystem, path = url_to_fs(url)
    return filesystem, path


def _list_local(path: str, pattern: str) -> list[Entry]:
    entries = []
    for name, status in local_files(path, pattern):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{name!r}: the name is not UTF-8; rename the file") from error
        entries.append(Entry(name, status.st_size, local_etag(status)))
    return entries


def _list_remote(url: str) -> list[Entry]:
    filesystem, path = open_filesystem(url)
    filesystem.invalidate_cache()
    if filesystem.exists(path) and filesystem.isfile(path):
        found = {path: filesystem.info(path)}
    elif filesystem.isdir(path):
        below = len(path.rstrip("/")) + 1
        found = {
            name: info
            for name, info in filesystem.find(path, detail=True).items()
            if not any(part.startswith(".") for part in name[below:].split("/"))
        }
    else:
        found = {
            name: info
            for name, info in filesystem.glob(path, detail=True).items()
            if info.get("type") != "directory"
        }
    entries = []
    for name, listed in found.items():
        # a listing may tell less than `info` does, which later checks compare with; an ETag is the same
        info = listed if any(key in listed for key in _ETAGS) else filesystem.info(name)
        size = info.get("size")
        ranged = size is not None and info.get("partial", True)
        entries.append(Entry(filesystem.unstrip_protocol(name), size, remote_etag(info), ranged))
    return entries
