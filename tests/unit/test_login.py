"""A login that runs out: the plugin of a kube config is asked again, once, and a lock is kept."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from gristmill.coordination.connecting import open_store
from gristmill.coordination.connections import ByClient
from gristmill.coordination.errors import Denied
from gristmill.coordination.kube import KubeStore
from gristmill.coordination.kube_objects import KIND_LABEL
from gristmill.coordination.port import Kind, Store

LEASE = {
    "metadata": {"name": "l", "uid": "u", "resourceVersion": "7", "labels": {KIND_LABEL: "lock"}},
    "spec": {"holderIdentity": "me"},
}


class Cluster:
    """An API server that knows the token of a file, which a kube config's plugin prints; and how often it did."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.token, self._calls = folder / "token", folder / "calls"
        self._plugin, self._config = folder / "plugin", folder / "kubeconfig"
        for name in ("GRISTMILL_COORDINATION", "GRISTMILL_JOB", "KUBERNETES_SERVICE_HOST"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(
            "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(self._config)
        )

    @property
    def calls(self) -> int:
        return len(self._calls.read_text().splitlines())

    def says(self, token: str) -> None:
        """Have the plugin print a token, which it says is good for an hour."""
        version = "client.authentication.k8s.io/v1"
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        status = {"token": token, "expirationTimestamp": until}
        told = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})
        self._plugin.write_text(f"#!/bin/sh\necho called >> {self._calls}\necho '{told}'\n")
        self._plugin.chmod(0o700)

    def run(self, test: Callable[[Store], Awaitable[None]]) -> None:
        async def answer(request: web.Request) -> web.Response:
            if request.headers.get("Authorization") != f"Bearer {self.token.read_text()}":
                return web.json_response({"message": "Unauthorized"}, status=401)
            return web.json_response(LEASE)

        async def whole() -> None:
            application = web.Application()
            application.router.add_route("*", "/{path:.*}", answer)
            runner = web.AppRunner(application)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._write_config(runner.addresses[0][1])
            store = await open_store()
            try:
                await test(store)
            finally:
                await store.close()
                await runner.cleanup()

        asyncio.run(whole())

    def _write_config(self, port: int) -> None:
        plugin = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(self._plugin),
            "interactiveMode": "Never",
        }
        config = {
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"exec": plugin}}],
            "current-context": "a",
        }
        self._config.write_text(json.dumps(config))
        self._config.chmod(0o600)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(tmp_path, monkeypatch)
    made.token.write_text("first")
    made.says("first")
    return made


def test_a_login_that_has_run_out_is_renewed_by_one_call_of_the_plugin(cluster: Cluster) -> None:
    async def test(store: Store) -> None:
        assert await store.get(Kind.LOCK, "l")
        assert cluster.calls == 1
        cluster.token.write_text("second")
        cluster.says("second")
        assert all(await asyncio.gather(*(store.get(Kind.LOCK, "l") for _ in range(20))))
        assert cluster.calls == 2

    cluster.run(test)


def test_one_that_is_over_is_told_and_asked_for_again_after_a_while(cluster: Cluster) -> None:
    async def test(store: Store) -> None:
        cluster.token.write_text("second")
        for _ in range(3):
            with pytest.raises(Denied, match=r"does not know who you are \(Unauthorized\): log in again"):
                await store.get(Kind.LOCK, "l")
        assert cluster.calls == 2
        cluster.says("second")
        assert isinstance(store, KubeStore)
        assert isinstance(store._connection, ByClient)
        store._connection._logged_in_at -= 60
        assert await store.get(Kind.LOCK, "l")

    cluster.run(test)
