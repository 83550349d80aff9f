"""Where to coordinate: at the Valkey that the program or its environment names, else on a cluster."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import getproxies, proxy_bypass

from gristmill.coordination.errors import BadName, CoordinationError, Unavailable
from gristmill.coordination.jobs import is_in_job, not_allowed
from gristmill.coordination.names import check_namespace
from gristmill.coordination.port import Store
from gristmill.coordination.saying import apart, say

log = logging.getLogger(__name__)

#: says where, in the environment: redis://... or unix://... of a Valkey
VARIABLE = "GRISTMILL_COORDINATION"
#: the name space of a Valkey where none is said
_NAMESPACE = "default"
#: logs the errors of a login, and does not raise them
_LOADER = "kubernetes.aio.config.kube_config"
#: what is said of a plugin that gave nothing, and logged nothing
_NO_TOKEN = "it gave no token"
#: what may be said after the `?` of a URL of a Valkey, beside what begins with ssl_: other options of the client change
#: what it makes of answers, or how long it waits for them
_OPTIONS = ("client_name", "db", "health_check_interval", "password", "username")
_ONLY_OPTIONS = f"after the `?` it takes only {', '.join(_OPTIONS)} and ssl_..."
#: how that begins which is said of a URL of a Valkey without a part of it: a password may be anywhere
_HARMLESS = (
    "Invalid value for 'db'",
    "Port out of range",
    "Redis URL must specify one of the following schemes",
    _ONLY_OPTIONS,
    "its ssl_ options can't be used",
)
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


async def open_store(
    url: str | None = None, namespace: str | None = None, context: str | None = None
) -> Store:
    """Return the records of a name space: of the Valkey at `url`, else of a cluster.

    CoordinationError where there is neither, or a package is missing; BadName where a cluster can't have such a name
    space; Denied in a ChunkJob that may not.
    """
    if context is None:
        url = url or os.environ.get(VARIABLE)
    if url:
        return _of_valkey(url, namespace or _NAMESPACE)
    if context is not None:
        return await _of_config(namespace, context)
    if os.environ.get("KUBERNETES_SERVICE_HOST") and (_SERVICE_ACCOUNT / "token").exists():
        return _of_pod(namespace)
    if is_in_job():
        raise not_allowed()
    return await _of_config(namespace, None)


def _of_valkey(url: str, namespace: str) -> Store:
    """Return the records of a name space of a Valkey. BadName where the URL is none."""
    from redis.exceptions import RedisError

    from gristmill.coordination.valkey import ValkeyStore

    try:
        parts = urlsplit(url)
        if parts.scheme in ("redis", "rediss") and "@" in f"{parts.path}{parts.query}{parts.fragment}":
            raise ValueError  # (the password ends the host's name: somebody else's server would be asked)
        if not all(name in _OPTIONS or name.startswith("ssl_") for name in parse_qs(parts.query)):
            raise ValueError(_ONLY_OPTIONS)
        return ValkeyStore(url, namespace)
    except (ValueError, TypeError, AttributeError, RedisError) as error:
        why = str(error) if str(error).startswith(_HARMLESS) else type(error).__name__
        raise BadName(
            f"the address of the Valkey is none ({why}): write redis://HOST:PORT, rediss://HOST:PORT or unix://PATH, "
            "and percent-encode the password (urllib.parse.quote(PASSWORD, safe=''))"
        ) from None


def _of_pod(namespace: str | None) -> Store:
    """Return the records of a cluster by the service account of the pod that this runs in."""
    try:
        from gristmill.coordination.connections import InPod
        from gristmill.coordination.kube import KubeStore
    except ImportError as error:
        raise CoordinationError(
            "coordination in a pod needs the package aiohttp: pip install 'gristmill[in-job]'"
        ) from error
    try:
        there = (_SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
        name = check_namespace(namespace or there)
        return KubeStore(InPod(_SERVICE_ACCOUNT), name)
    except OSError as error:
        raise Unavailable(f"the pod's service account can't be read: {error}") from error


async def _of_config(namespace: str | None, context: str | None) -> Store:
    """Return the records of the cluster of a kube context (None: the current one)."""
    try:
        from aiohttp import ClientError
        from kubernetes.aio import client as api
        from kubernetes.aio import config
        from yaml import YAMLError
    except ImportError as error:
        raise CoordinationError(
            "coordination on a cluster needs the package kubernetes 37 or later: pip install 'gristmill[coordination]'"
        ) from error
    from gristmill.coordination.connections import ByClient
    from gristmill.coordination.kube import KubeStore
    from gristmill.coordination.login import Login, end_of, with_plugin, without_entry

    configuration: Any = api.Configuration()
    configuration.connection_pool_maxsize = 0  # (each who waits for a lock has a watch open)
    try:
        load: Any = config.load_kube_config
        with apart(_LOADER) as errors:
            loader = await with_plugin(load(context=context, client_configuration=configuration))
        _strip_token(configuration)
        errors = [without_entry(words) for words in errors]
        for words in errors:
            say(log, logging.WARNING, "the kube config's login failed: %s", words)
        contexts, active = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
    except (config.ConfigException, ClientError, OSError, YAMLError) as error:
        raise _nowhere(without_entry(str(error))) from None  # (which has the secrets of the kube config)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise _nowhere(f"the kube config can't be used: {type(error).__name__}: {error}") from error
    if context is not None:
        active = next((one for one in contexts if one["name"] == context), None)
    there = (active or {}).get("context", {}).get("namespace") or _NAMESPACE
    name = check_namespace(namespace or there)
    configuration.proxy = configuration.proxy or proxy_for(configuration.host)
    configuration.client_session_kwargs = {"trust_env": False}

    has_certificate = bool(configuration.cert_file)
    failure = "; ".join(errors) or None
    if (
        failure is None
        and "exec" in (loader._user or ())
        and not has_certificate
        and "token" not in vars(loader)
    ):
        failure = _NO_TOKEN  # (there are no errors where the program lets `kubernetes` log nothing)

    def until() -> float | None:
        """Return when the login runs out."""
        said = vars(loader).get("exec_plugin_expiry")
        return said.timestamp() if said else end_of(configuration.api_key.get("BearerToken", ""))

    async def log_in() -> float | None:
        for known in ("exec_plugin_expiry", "token"):  # (or what the plugin has said were believed)
            vars(loader).pop(known, None)
        with apart(_LOADER) as errors:
            await with_plugin(loader.load_and_set(configuration))
        _strip_token(configuration)
        takes_token = "BearerToken" in configuration.api_key or not has_certificate
        if errors or (takes_token and "token" not in vars(loader)):
            raise CoordinationError("; ".join(errors) or _NO_TOKEN)
        return until()

    try:
        client = api.ApiClient(configuration)
    except (OSError, ValueError) as error:
        raise _nowhere(f"the certificates of the kube config can't be used: {error}") from error
    return KubeStore(ByClient(client, Login(log_in, until(), failure)), name)


def _strip_token(configuration: Any) -> None:
    """Leave the newline out that a file with a token may end in."""
    if token := configuration.api_key.get("BearerToken"):
        configuration.api_key["BearerToken"] = token.strip()


def _nowhere(why: str) -> Unavailable:
    return Unavailable(f"there is nowhere to coordinate: no cluster ({why}), and {VARIABLE} names no Valkey")


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for a URL.

    It is asked once: the client would ask at each call, in a thread, which takes as long as the rest of a call.
    """
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
