"""Where the volume of a name is: in the folder or at the URL of fsspec's that GRISTMILL_VOLUMES says.

Else, in a pod that has the Secret of a FileVolume, at its filer; else in a folder here.
"""

from __future__ import annotations

import os
from functools import lru_cache
from urllib.parse import unquote

from gristmill.volumes.errors import BadName
from gristmill.volumes.names import check_volume
from gristmill.volumes.store import ContentStore

PROTOCOL = "volume"
_ROOT = "GRISTMILL_VOLUMES"
_DEFAULT_ROOT = ".gristmill/volumes"


def open_volume(name: str) -> ContentStore:
    """Return the files of the volume of a name. A folder is made when the first file is written. BadName."""
    root = os.environ.get(_ROOT)
    if not root:
        from gristmill.volumes.filer.places import mounted

        if (store := mounted(check_volume(name))) is not None:
            return store
    return open_store(f"{(root or _DEFAULT_ROOT).rstrip('/')}/{check_volume(name)}")


def open_store(url: str) -> ContentStore:
    """Return the content store of a folder or URL; the same for the same. StorageFailed."""
    if url.startswith("file://"):
        url = unquote(url.removeprefix("file://"))
    return _store(url if "://" in url else os.path.abspath(url), os.getpid())


def split(url: str) -> tuple[str, str]:
    """Return the volume and the path that `volume://NAME/path` names. BadName where it is no such URL."""
    protocol, separator, rest = url.partition("://")
    if protocol != PROTOCOL or not separator:
        raise BadName(f"{url!r} is no URL of a volume: write volume://NAME/path")
    volume, _, path = rest.partition("/")
    return check_volume(volume), path


@lru_cache(maxsize=64)
def _store(url: str, pid: int) -> ContentStore:
    """Return the store of a process: file systems of fsspec that have threads don't go through a fork."""
    if "://" not in url:
        from gristmill.volumes.local_backend import LocalBackend

        return ContentStore(LocalBackend(url))
    from gristmill.volumes.remote_backend import RemoteBackend

    return ContentStore(RemoteBackend(url))
