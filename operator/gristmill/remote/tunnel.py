"""The way to the queue from outside the cluster: each connection is a port-forward, without a local port."""

from __future__ import annotations

from importlib import import_module
from typing import Any
from urllib.parse import unquote, urlsplit

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.exceptions import ConnectionError
from redis.retry import Retry

from gristmill import settings
from gristmill.errors import GristmillError
from gristmill.remote.cluster import Cluster


def queue_pod(url: str) -> tuple[str, str, int]:
    """Return pod, namespace and port of the queue with this URL; its host is CACHE.NAMESPACE.svc."""
    parts = urlsplit(url)
    cache, _, rest = (parts.hostname or "").partition(".")
    namespace, _, service = rest.partition(".")
    if not service.startswith("svc"):
        raise GristmillError(
            f"the queue at {parts.hostname} is not one of the cluster's own: run this in one of its pods"
        )
    return f"{cache}-0", namespace, parts.port or 6379


def connect_through(cluster: Cluster, url: str) -> Redis:
    """Return a client of the queue with this URL."""
    parts = urlsplit(url)
    pod, namespace, port = queue_pod(url)
    pool = ConnectionPool(
        connection_class=_Forwarded,
        dial=lambda: dial(cluster, pod, namespace, port),
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        socket_timeout=settings.ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis(connection_pool=pool)


class _Forwarded(Connection):
    """A connection whose socket is an end of a port-forward."""

    def __init__(self, *, dial: Any, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._dial = dial

    def _connect(self) -> Any:
        socket = self._dial()
        socket.settimeout(self.socket_timeout)
        return socket


def dial(cluster: Cluster, pod: str, namespace: str, port: int) -> Any:
    """Return a socket that is connected to a port of a pod."""
    from kubernetes.client import ApiException

    stream: Any = import_module("kubernetes.stream.ws_client")  # (it has no types)
    settings = cluster.client.configuration
    url = f"{settings.host}/api/v1/namespaces/{namespace}/pods/{pod}/portforward"
    try:
        # (`kubernetes.stream.portforward` hides what the server said)
        forward = stream.portforward_call(
            settings, "GET", url, query_params=[("ports", str(port))], headers=cluster.credentials()
        )
    except ApiException as error:
        if "403" in str(error.reason).partition("-+-")[0]:
            raise GristmillError(
                f"this needs the right to get and create pods/portforward in the namespace "
                f"{namespace} (pod {pod}), which you lack; or run it in a pod of the cluster"
            ) from error
        raise ConnectionError(f"no port-forward to pod {pod} in {namespace}: {error.reason}") from error
    return forward.socket(port)
