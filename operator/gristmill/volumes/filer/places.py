"""Where a FileVolume's files are for its pods: at the filer that a mounted Secret names."""

from __future__ import annotations

import os
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import urlsplit

from gristmill.volumes.errors import StorageFailed
from gristmill.volumes.store import ContentStore

#: the folder below which a pod has the Secrets of its volumes, each in a folder of the volume's name
SECRETS = "/var/run/gristmill/volumes"
#: names another one (for tests)
_SECRETS_VARIABLE = "GRISTMILL_VOLUME_SECRETS"
#: keys of the Secret
URL, KEY = "url", "key"
#: what follows a volume's name in the names of its Secret and Service, and of its servers' Service
SECRET_SUFFIX, SERVERS_SUFFIX = "-volume", "-server"
#: port of the servers
SERVER_PORT = 8080


def mounted(name: str) -> ContentStore | None:
    """Return the files of a FileVolume whose Secret is mounted here; None where it is not. StorageFailed."""
    folder = Path(os.environ.get(_SECRETS_VARIABLE) or SECRETS, name)
    try:
        url, key = (folder.joinpath(part).read_text(encoding="utf-8").strip() for part in (URL, KEY))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageFailed(
            f"the Secret of volume {name} in {folder} can't be read: {error.strerror}"
        ) from error
    return by_services(url, key)


def by_services(url: str, key: str) -> ContentStore:
    """Return the files at a filer, in a pod of the cluster: servers are found by the name of their Service."""
    return _store(url, key, os.getpid())


@lru_cache(maxsize=64)
def _store(url: str, key: str, pid: int) -> ContentStore:
    """Return the store of a process: connections don't go through a fork."""
    from gristmill.volumes.filer.backend import FilerBackend
    from gristmill.volumes.filer.copies import resolved

    service, _, domain = (urlsplit(url).hostname or "").partition(".")
    servers = f"{service.removesuffix(SECRET_SUFFIX)}{SERVERS_SUFFIX}.{domain}"
    return ContentStore(FilerBackend(url, key, partial(resolved, servers, SERVER_PORT)))
