"""kopf's watches against a server that lets one namespace be watched only after a while, as one that is made again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.unit.fake_api import FakeApi
from tests.unit.test_operating import config, mill

from gristmill.api.names import CACHE_PLURAL, FILE_VOLUME_PLURAL, GROUP, PLURAL
from gristmill.controllers import operating
from gristmill.controllers.cluster import Cluster
from gristmill.controllers.operating import Operator

#: more refusals than kopf has patience for, unless it is told otherwise
_REFUSALS = 12
_PLURALS = {
    f"{GROUP}/v1alpha1": [PLURAL, CACHE_PLURAL, FILE_VOLUME_PLURAL],
    "batch/v1": ["jobs"],
    "apps/v1": ["statefulsets"],
    "v1": ["pods", "namespaces"],
}


class Server:
    """Refuses `lost`, then lists a ChunkJob there."""

    def __init__(self) -> None:
        self.refused: dict[str, int] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path in ("/apis", "/api"):
            groups = [_group(name) for name in _PLURALS if "/" in name]
            return web.json_response({"versions": ["v1"], "groups": groups})
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if version in _PLURALS:
            return web.json_response({"resources": [_resource(name) for name in _PLURALS[version]]})
        if "/namespaces/lost/" in path and self.refused.setdefault(path, 0) < _REFUSALS:
            self.refused[path] += 1
            return web.json_response({"kind": "Status", "code": 403, "message": "you may not"}, status=403)
        if "watch" in request.query:
            stream = web.StreamResponse()
            await stream.prepare(request)
            await asyncio.sleep(60)
        items = [mill(namespace="lost")] if path.endswith(f"/lost/{PLURAL}") else []
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})


def _group(version: str) -> dict[str, Any]:
    group, name = version.split("/")
    told = {"groupVersion": version, "version": name}
    return {"name": group, "versions": [told], "preferredVersion": told}


def _resource(plural: str) -> dict[str, Any]:
    verbs = ["list", "watch", "patch"]
    return {"name": plural, "kind": plural, "singularName": plural, "namespaced": True, "verbs": verbs}


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def test_a_namespace_that_may_not_be_watched_ends_no_watch_and_is_watched_when_it_may_be(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operating, "_FIRST_PAUSES", (0.01,))
    monkeypatch.setattr(operating, "_PAUSE", 0.01)
    server = Server()

    async def heard() -> bool:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        part = {"cluster": {"server": f"http://127.0.0.1:{port}"}, "user": {"token": "x"}}
        kubeconfig.write_text(
            json.dumps(
                {
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
                    "clusters": [{"name": "c", "cluster": part["cluster"]}],
                    "users": [{"name": "c", "user": part["user"]}],
                }
            )
        )
        operator = Operator(config("home", "lost"), Cluster(FakeApi()))
        stop = asyncio.Event()
        watching = asyncio.create_task(operator._watch(stop))
        try:
            async with asyncio.timeout(30):
                while not operator.world.all("ChunkJob") and not watching.done():
                    await asyncio.sleep(0.01)
            return not watching.done()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await runner.cleanup()

    assert asyncio.run(heard())
    assert min(server.refused.values()) == _REFUSALS
