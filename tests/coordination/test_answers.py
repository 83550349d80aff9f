"""What a cluster's API server may say to who coordinates, and what they are told or what is tried again."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.coordination.apiserver import NOBODY, ApiServer
from tests.coordination.conftest import PATIENCE, Place, store_at
from tests.coordination.locks import Bench, run
from tests.e2e.kube import kubectl

from gristmill.coordination.aio import Client
from gristmill.coordination.errors import Denied, LockLost, Refused
from gristmill.coordination.kube_objects import KIND_LABEL
from gristmill.coordination.port import Kind, Scope

pytestmark = pytest.mark.e2e

#: what a quota says that several write to at the same time
_BUSY = (
    'Operation cannot be fulfilled on resourcequotas "team": the object has been modified; please apply your changes '
    "to the latest version and try again"
)


class Saying:
    """A connection to the API server on which some requests of a method are answered otherwise, before it is asked."""

    def __init__(self, connection: Any, method: str, *answers: tuple[int, dict[str, Any]]) -> None:
        self._connection = connection
        self._method = method
        self.answers = list(answers)

    async def send(self, method: str, *more: Any) -> Any:
        if method == self._method and self.answers:
            return _Answer(*self.answers.pop(0))
        return await self._connection.send(method, *more)

    async def close(self) -> None:
        await self._connection.close()


class _Answer:
    def __init__(self, status: int, said: dict[str, Any]) -> None:
        self.status = status
        self._said = said

    async def read(self) -> bytes:
        return json.dumps(self._said).encode()


def test_a_quota_that_is_busy_is_asked_again(namespace: Callable[[], Awaitable[Any]]) -> None:
    async def test(bench: Bench) -> None:
        store: Any = bench.store
        busy = (409, {"message": _BUSY, "reason": "Conflict"})
        store._connection = saying = Saying(store._connection, "POST", busy, busy)
        async with bench.lock() as lock:
            assert lock.held
            assert not saying.answers
            saying.answers = [busy]
            assert not await bench.lock().acquire(blocking=False)

    run(Place(namespace), test)


def test_who_has_no_rights_in_a_namespace_of_any_name_is_told_which(api_server: ApiServer) -> None:
    """Also where its name has words that stand for something else."""

    async def whole() -> None:
        for name in ("quota-team", "being-terminated"):
            async with Client(await store_at(api_server.config(NOBODY, namespace=name))) as client:
                with pytest.raises(Denied, match=r"what coordinates needs get, list"):
                    await asyncio.wait_for(client.lock("l").acquire(), 20)

    asyncio.run(whole())


@pytest.mark.parametrize("why", ["quota", "end"])
def test_a_quota_that_is_used_up_and_a_namespace_that_ends_are_no_matter_of_rights(why: str) -> None:
    name = f"coordination-{secrets.token_hex(3)}"
    kubectl("create", "namespace", name)
    if why == "quota":
        words = "exceeded quota: none"
        hard = "--hard=count/leases.coordination.k8s.io=0,count/configmaps=0"
        kubectl("-n", name, "create", "quota", "none", hard)
        kubectl("-n", name, "wait", "--for=jsonpath={.status.hard}", "quota/none", "--timeout=30s")
    else:
        words = "is being terminated"
        kubectl("-n", name, "create", "configmap", "stays")
        stay = '{"metadata": {"finalizers": ["example.com/stay"]}}'
        kubectl("-n", name, "patch", "configmap", "stays", "-p", stay)
        kubectl("delete", "namespace", name, "--wait=false")

    async def whole() -> None:
        async with Client(await store_at(None, name)) as client:
            tree = await client.tree("t")
            for call in (client.lock("l").acquire(), tree.set("/a", "1")):
                with pytest.raises(Refused, match=words) as caught:
                    await asyncio.wait_for(call, 20)
                assert "needs get" not in str(caught.value)

    try:
        asyncio.run(whole())
    finally:
        if why == "end":
            kubectl("-n", name, "patch", "configmap", "stays", "-p", '{"metadata": {"finalizers": null}}')
        kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.mark.parametrize("labels", [{}, {"app": "theirs"}, {KIND_LABEL: "session"}])
def test_a_lease_that_is_no_lock_is_neither_taken_nor_deleted(
    namespace: Callable[[], Awaitable[Any]], labels: dict[str, str]
) -> None:
    """That of another program, which has the lock's name: before somebody asks for it, or from now on."""

    async def test(bench: Bench) -> None:
        store: Any = bench.store
        path = f"{store._path(Kind.LOCK)}/{bench.name}"
        parts = {
            "/metadata/labels": labels,
            "/metadata/annotations": {},
            "/spec": {"holderIdentity": "theirs", "leaseDurationSeconds": 1},
        }
        patch = [{"op": "add", "path": one, "value": value} for one, value in parts.items()]
        lock = bench.lock()
        await lock.acquire()
        waiting = [asyncio.create_task(bench.lock().acquire()) for _ in range(2)]
        while len([one for one in (await bench.record()).fields if one.startswith("waiter")]) < 2:
            await asyncio.sleep(0.01)
        theirs = await store._call("PATCH", path, patch, "application/json-patch+json")
        assert not (await store.list(Scope(Kind.LOCK, name=bench.name)))[0]
        for call in (*waiting, bench.lock().acquire(), bench.lock().acquire(blocking=False)):
            with pytest.raises(Refused, match=f"Lease {bench.name} is no lock"):
                await asyncio.wait_for(call, 10)
        await asyncio.wait_for(lock.lost.wait(), PATIENCE)
        with pytest.raises(LockLost):
            await lock.release()
        assert await store._call("GET", path) == theirs
        await store._call("DELETE", path)
        await lock.acquire()

    run(Place(namespace), test)


def test_a_lock_whose_label_is_taken_away_is_lost_and_its_lease_left(
    namespace: Callable[[], Awaitable[Any]],
) -> None:
    async def test(bench: Bench) -> None:
        store: Any = bench.store
        lock = bench.lock()
        await lock.acquire()
        patch = [{"op": "remove", "path": "/metadata/labels"}]
        path = f"{store._path(Kind.LOCK)}/{bench.name}"
        left = await store._call("PATCH", path, patch, "application/json-patch+json")
        await asyncio.wait_for(lock.lost.wait(), PATIENCE)
        with pytest.raises(LockLost):
            await lock.release()
        assert await store._call("GET", path) == left

    run(Place(namespace), test)
