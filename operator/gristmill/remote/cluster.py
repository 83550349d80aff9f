"""The cluster of a kube context, with the rights of its user: what may not be done, or is not there, is said so."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from gristmill.api.names import API_VERSION, KIND, PLURAL
from gristmill.errors import GristmillError, ManifestError, UsageError

#: seconds that an answer may take
_TIMEOUT = 30
#: who set the fields of a ChunkJob, in its managedFields
_MANAGER = "gristmill-submit"
_PATHS = {
    KIND: (f"/apis/{API_VERSION}", PLURAL),
    "Job": ("/apis/batch/v1", "jobs"),
    "Pod": ("/api/v1", "pods"),
    "Secret": ("/api/v1", "secrets"),
    "ConfigMap": ("/api/v1", "configmaps"),
}
_IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class NoCluster(UsageError):  # noqa: N818 (nothing is wrong where none is needed)
    """There is no cluster to ask."""


class ClusterError(GristmillError):
    """The cluster refused a call; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True)
class Cluster:
    """A cluster and the namespace that is meant where none is said."""

    client: Any
    namespace: str
    #: the options that lead here again
    options: str = ""
    #: whether this process runs in one of its pods, and reaches its services
    is_own: bool = False

    def credentials(self) -> dict[str, str]:
        """Return the header that says who asks, where no certificate does."""
        bearer = self.client.configuration.auth_settings().get("BearerToken")
        return {bearer["key"]: bearer["value"]} if bearer else {}

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return an object of the namespace, or None."""
        try:
            return _object(self._call("GET", self._path(kind, name)))
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: str, **selectors: str) -> list[dict[str, Any]]:
        """Return the objects of the namespace that fit a `labelSelector`."""
        return list(_object(self._call("GET", f"{self._path(kind)}?{urlencode(selectors)}"))["items"])

    def apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Make a ChunkJob, or make it so in the fields that are given. ManifestError when it is not taken."""
        path = self._path(manifest["kind"], manifest["metadata"]["name"])
        words = urlencode({"fieldManager": _MANAGER, "force": "true", "fieldValidation": "Strict"})
        try:
            return _object(self._call("PATCH", f"{path}?{words}", manifest, "application/apply-patch+yaml"))
        except ClusterError as error:
            if error.status in (400, 422):
                raise ManifestError([str(error)]) from error
            raise

    def patch(self, kind: str, name: str, body: dict[str, Any]) -> None:
        """Merge `body` into an object."""
        self._call("PATCH", self._path(kind, name), body, "application/merge-patch+json")

    def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Make an object of the namespace."""
        return _object(self._call("POST", self._path(manifest["kind"]), manifest))

    def delete(self, kind: str, name: str) -> None:
        """Delete an object; nothing happens where it is gone."""
        try:
            self._call("DELETE", self._path(kind, name), {"gracePeriodSeconds": 0})
        except ClusterError as error:
            if error.status != 404:
                raise

    def log(self, pod: str, since: str | None) -> str:
        """Return what a pod has printed since a time, each line with its own; "" while it has not begun, or is gone."""
        words = {"timestamps": "true", **({"sinceTime": since} if since else {})}
        try:
            data = self._call("GET", f"{self._path('Pod', pod)}/log?{urlencode(words)}")
        except ClusterError as error:
            if error.status in (400, 404):
                return ""
            raise
        return data.decode("utf-8", "replace")

    def _path(self, kind: str, name: str = "") -> str:
        prefix, plural = _PATHS[kind]
        path = f"{prefix}/namespaces/{quote(self.namespace, safe='')}/{plural}"
        return f"{path}/{quote(name, safe='')}" if name else path

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, content: str = "application/json"
    ) -> bytes:
        from urllib3.exceptions import HTTPError

        host = self.client.configuration.host
        headers = {"Accept": "application/json, */*", "Content-Type": content, **self.credentials()}
        try:
            response = self.client.rest_client.pool_manager.request(
                method,
                host + path,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=_TIMEOUT,
                retries=False,
            )
        except HTTPError as error:
            raise GristmillError(f"the cluster at {host} does not answer: {error}") from error
        data: bytes = response.data
        if response.status >= 400:
            raise _refusal(response.status, data, self.namespace)
        return data


def connect(context: str | None = None, namespace: str | None = None) -> Cluster:
    """Return the cluster of a kube context (None: the current one; in a pod without any, the pod's own)."""
    try:
        from kubernetes.client import ApiClient, Configuration
    except ImportError:
        raise NoCluster(
            "what asks a cluster is not installed: `pip install 'gristmill[cluster]'` installs it"
        ) from None
    config: Any = import_module("kubernetes.config")  # (it has no types)
    settings = Configuration()
    options = f"{f' -n {namespace}' if namespace else ''}{f' --context {context}' if context else ''}"
    from yaml import YAMLError

    # (what reads a kube config takes it to be well formed)
    malformed = (AttributeError, KeyError, TypeError, ValueError, OSError, YAMLError)
    try:
        known, current = _contexts(config.kube_config)
    except malformed as error:
        raise NoCluster(
            f"the kube config ($KUBECONFIG, else ~/.kube/config) is not one: {_words(error)}"
        ) from error
    except config.ConfigException as error:
        known, current = {}, ""
        fault = f"there is no kube config ($KUBECONFIG, else ~/.kube/config): {error}"
    else:
        wrong = f"has no context {context or current!r}" if context or current else "names no current context"
        fault = f"the kube config {wrong}; it has {', '.join(sorted(known)) or 'none'}"
    name = context or current
    is_own = "KUBERNETES_SERVICE_HOST" in os.environ and not name
    if is_own:
        config.load_incluster_config(settings)
        chosen = namespace or _IN_POD.read_text(encoding="utf-8").strip()
    elif name in known:
        try:
            config.load_kube_config(context=name, client_configuration=settings)
        except (config.ConfigException, *malformed) as error:
            raise NoCluster(f"the kube config's context {name!r} leads nowhere: {_words(error)}") from error
        chosen = namespace or str(known[name].get("namespace") or "default")
    else:
        raise NoCluster(fault)
    return Cluster(ApiClient(settings), chosen, options, is_own)


def _contexts(kube_config: Any) -> tuple[dict[str, dict[str, Any]], str]:
    """Return the contexts of the kube config by name, and the name of the current one ("": none)."""
    found = kube_config.KubeConfigMerger(kube_config.KUBE_CONFIG_DEFAULT_LOCATION).config
    if found is None:
        raise kube_config.ConfigException("there is no such file")
    contexts = {str(one.value["name"]): one.value.get("context") for one in found.value["contexts"]}
    return contexts, str(found.value.get("current-context") or "")


def _words(error: Exception) -> str:
    """Return what an error says of a kube config, in one line."""
    return f"an entry has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())


def _object(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data)
    return found


def _refusal(status: int, data: bytes, namespace: str) -> GristmillError:
    """Return what a refusal means to the user."""
    try:
        told = json.loads(data)
    except ValueError:
        told = {}
    message = str(told.get("message") or f"HTTP status {status}")
    details = told.get("details") or {}
    if status == 401:
        return ClusterError(status, f"the cluster does not know who you are: {message}")
    if status == 403:
        return ClusterError(status, f"you lack a right in the namespace {namespace}: {message}")
    if status == 404 and not details.get("name"):
        return GristmillError("the cluster knows no ChunkJob: Gristmill's operator is not installed there")
    return ClusterError(status, message)
