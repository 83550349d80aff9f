"""The files of a FileVolume of a cluster: in its pods by the Services, from outside by port-forwards to its pods."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import ConnectionError as NoForward

from gristmill.api.names import GROUP
from gristmill.errors import UsageError
from gristmill.remote.cluster import Cluster
from gristmill.remote.tunnel import dial
from gristmill.volumes.filer.backend import FilerBackend
from gristmill.volumes.filer.places import KEY, SECRET_SUFFIX, SERVER_PORT, URL, by_services
from gristmill.volumes.store import ContentStore

#: seconds that a call is made again while the filer is away: somebody waits
_PATIENCE_SECONDS = 30.0


def open_volume(cluster: Cluster, name: str) -> ContentStore:
    """Return the files of a FileVolume. UsageError where there is none, or its filer is not ready."""
    secret = cluster.get("Secret", f"{name}{SECRET_SUFFIX}")
    if secret is None or not secret.get("data", {}).keys() >= {URL, KEY}:
        raise UsageError(
            f"there is no FileVolume {name} in the namespace {cluster.namespace}, or nothing was made of it yet: "
            f"it has no Secret {name}{SECRET_SUFFIX} with {URL} and {KEY}"
        )
    url, key = (base64.b64decode(secret["data"][one]).decode() for one in (URL, KEY))
    if cluster.is_own:
        return by_services(url, key)
    pods = _Pods(cluster, name, urlsplit(url).hostname or "")
    pods.see_that_filer_is_ready()
    return ContentStore(FilerBackend(url, key, pods.servers, pods.dial, _PATIENCE_SECONDS))


class _Pods:
    """The pods of a FileVolume, and ways to them; the filer is meant by the name of its Service."""

    def __init__(self, cluster: Cluster, name: str, service: str) -> None:
        self._cluster = cluster
        self._name = name
        self._service = service
        self._filer = f"{name}-filer-0"
        self._found: list[str] | None = None

    def see_that_filer_is_ready(self) -> None:
        """Raise UsageError where it is not."""
        pod = self._cluster.get("Pod", self._filer)
        told = {} if pod is None else pod.get("status", {})
        if not any(one["type"] == "Ready" and one["status"] == "True" for one in told.get("conditions", ())):
            what = f"filevolume {self._name}" if pod is None else f"pod {self._filer}"
            raise UsageError(
                f"the filer of FileVolume {self._name} is not ready: "
                f"`kubectl describe -n {self._cluster.namespace} {what}` says why"
            )

    def servers(self) -> list[str]:
        """Return addresses of the servers, with the names of their pods; see `dial`."""
        if self._found is None:
            labels = f"{GROUP}/filevolume={self._name},{GROUP}/part=server"
            pods = self._cluster.list("Pod", labelSelector=labels)
            self._found = sorted(f"http://{pod['metadata']['name']}:{SERVER_PORT}" for pod in pods)
        return self._found

    def dial(self, host: str, port: int) -> Any:
        """Return a connection to a pod, or to the filer's."""
        pod = self._filer if host == self._service else host
        try:
            return dial(self._cluster, pod, self._cluster.namespace, port)
        except NoForward as error:
            raise OSError(str(error)) from error
