"""The peers on a cluster: plain HTTP and JSON to the API server, by nothing but aiohttp."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp

from benchmarks.coordination.numbers import rate, times

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
CONFIG_MAPS = "/api/v1/namespaces/{}/configmaps"


class Raw:
    """A session with the API server of the current kube context."""

    def __init__(self, session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> None:
        self._session = session
        self._url = url
        self._headers = headers

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make a call, and return what it says."""
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, self._url + path, headers=self._headers, data=data) as one:
            said = await one.read()
            one.raise_for_status()
            return json.loads(said)

    async def events(self, path: str, version: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a watch."""
        url = f"{self._url}{path}{'&' if '?' in path else '?'}watch=1&resourceVersion={version}"
        async with self._session.get(url, headers=self._headers) as one:
            one.raise_for_status()
            async for line in one.content:
                yield json.loads(line)


@asynccontextmanager
async def connected() -> AsyncIterator[Raw]:
    """Connect as the current kube context says."""
    from kubernetes.aio import client, config

    configuration: Any = client.Configuration()
    await config.load_kube_config(client_configuration=configuration)
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    async with client.ApiClient(configuration) as api:
        await api.update_params_for_auth(headers, [], ["BearerToken"], "/", "GET", None)
        connector = aiohttp.TCPConnector(ssl=api.rest_client.ssl_context, limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Raw(session, configuration.host, headers)


def lease(name: str) -> dict[str, Any]:
    """Return a Lease as a leader election writes it."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": "me", "leaseDurationSeconds": 15, "acquireTime": now, "renewTime": now}
    kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    return {**kind, "metadata": {"name": name}, "spec": spec}


class _Lease:
    """A Lease that is replaced as a leader election does it: with the version that was seen last."""

    def __init__(self, path: str, made: dict[str, Any]) -> None:
        self._path = path
        self.version = made["metadata"]["resourceVersion"]

    async def replace(self, raw: Raw) -> None:
        body = lease("raw")
        body["metadata"]["resourceVersion"] = self.version
        self.version = (await raw.call("PUT", f"{self._path}/raw", body))["metadata"]["resourceVersion"]


async def _again(raw: Raw, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Make an object anew."""
    try:
        await raw.call("DELETE", f"{path}/{body['metadata']['name']}")
    except aiohttp.ClientResponseError as error:
        if error.status != 404:
            raise
    return dict(await raw.call("POST", path, body))


def updates(namespace: str, number: int) -> dict[str, float]:
    """Replace a Lease, again and again."""

    async def work() -> dict[str, float]:
        path = LEASES.format(namespace)
        async with connected() as raw:
            made = _Lease(path, await _again(raw, path, lease("raw")))
            return await rate(number, lambda: made.replace(raw))

    return asyncio.run(work())


def hand_overs(namespace: str, number: int) -> dict[str, float]:
    """One writes, another sees it in its watch and writes in turn: the least that a hand-over takes."""

    async def work() -> dict[str, float]:
        path = LEASES.format(namespace)
        async with connected() as one, connected() as other:
            made = _Lease(path, await _again(one, path, lease("raw")))
            events = one.events(f"{path}?fieldSelector=metadata.name%3Draw", made.version)
            seconds = []
            for _ in range(number):
                begin = time.perf_counter()
                writing = asyncio.ensure_future(made.replace(other))
                made.version = (await anext(events))["object"]["metadata"]["resourceVersion"]
                await made.replace(one)
                seconds.append(time.perf_counter() - begin)
                last = made.version
                await writing
                made.version = last
                await anext(events)
            return times(seconds)

    return asyncio.run(work())


def gets(namespace: str, number: int) -> dict[str, float]:
    """Read a ConfigMap, again and again."""

    async def work() -> dict[str, float]:
        path = CONFIG_MAPS.format(namespace)
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "raw"}, "data": {"value": "1"}}
        async with connected() as raw:
            await _again(raw, path, body)
            return await rate(number, lambda: raw.call("GET", f"{path}/raw"))

    return asyncio.run(work())


def lists(namespace: str, tree: str) -> dict[str, float]:
    """Read all nodes of a tree once, in pages."""

    async def work() -> dict[str, float]:
        path = CONFIG_MAPS.format(namespace)
        path += f"?limit=500&labelSelector=coordination.gristmill.dev/tree%3D{tree}"
        async with connected() as raw:
            begin = time.perf_counter()
            items: list[Any] = []
            more = ""
            while True:
                found = await raw.call("GET", path + more)
                items += found["items"]
                if not found["metadata"].get("continue"):
                    break
                more = f"&continue={found['metadata']['continue']}"
            return {"list": time.perf_counter() - begin, "nodes": len(items)}

    return asyncio.run(work())
