"""The way to the API server by a pod's service account: its CA is believed, and its token read again."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from kubernetes.aio import client

from gristmill.coordination import connections
from gristmill.coordination.aio import Client
from gristmill.coordination.connections import ByClient, InPod
from gristmill.coordination.errors import Denied, Unavailable, Unreachable
from gristmill.coordination.kube import KubeStore
from gristmill.coordination.kube_objects import KIND_LABEL
from gristmill.coordination.login import Login
from gristmill.coordination.port import Kind, Record, Scope

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not there")
LEASE = {
    "metadata": {"name": "l", "uid": "u", "resourceVersion": "7", "labels": {KIND_LABEL: "lock"}},
    "spec": {"holderIdentity": "me"},
}


def certify(folder: Path) -> None:
    """Make a certificate of 127.0.0.1 that is its own authority."""
    folder.mkdir()
    words = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=test "
        f"-addext subjectAltName=IP:127.0.0.1 -keyout {folder / 'key'} -out {folder / 'ca.crt'}"
    )
    subprocess.run(["openssl", *words.split()], check=True, capture_output=True)


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """The folder of a service account."""
    folder = tmp_path / "account"
    certify(folder)
    (folder / "token").write_text("first\n")
    return folder


@pytest.fixture
def cut() -> list[str]:
    """What was to be deleted: the connection is lost then, before the answer."""
    return []


@pytest.fixture
def visit(account: Path, monkeypatch: pytest.MonkeyPatch, cut: list[str]) -> Callable[..., None]:
    """Run what calls an API server that knows one Lease, for who has the token that is in the file."""

    async def answer(request: web.Request) -> web.Response:
        token = (account / "token").read_text().strip()
        if request.headers.get("Authorization") != f"Bearer {token}" or (account / "refused").exists():
            return web.json_response({"message": "Unauthorized"}, status=401)
        if request.method == "DELETE":
            cut.append(request.path)
            assert request.transport is not None
            request.transport.abort()
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            while request.transport is not None and not request.transport.is_closing():
                await asyncio.sleep(0.05)
        if request.method == "POST":
            return web.json_response(LEASE | await request.json() | {"metadata": LEASE["metadata"]})
        return web.json_response(LEASE)

    def run(calls: Callable[[KubeStore], Awaitable[None]], folder: Path = account) -> None:
        async def all_of_it() -> None:
            application = web.Application()
            application.router.add_route("*", "/{path:.*}", answer)
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(account / "ca.crt", account / "key")
            runner = web.AppRunner(application)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
            await site.start()
            monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(runner.addresses[0][1]))
            store = KubeStore(InPod(folder), "here")
            try:
                await calls(store)
            finally:
                await store.close()
                await runner.cleanup()

        asyncio.run(all_of_it())

    return run


def test_requests_have_the_token_and_their_body(visit: Callable[..., None]) -> None:
    async def calls(store: KubeStore) -> None:
        found = await store.get(Kind.LOCK, "l")
        assert found is not None
        assert (found.fields["holder"], found.revision) == ("me", 7)
        made = await store.create(Record(Kind.LOCK, "l", fields={"holder": "you"}))
        assert made.fields["holder"] == "you"

    visit(calls)


def test_who_waits_for_a_lock_is_told_at_once_that_a_certificate_is_not_believed(
    visit: Callable[..., None], tmp_path: Path
) -> None:
    async def calls(store: KubeStore) -> None:
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await Client(store).lock("l").acquire()

    other = tmp_path / "other"
    certify(other)
    (other / "token").write_text("first")
    visit(calls, other)


@pytest.mark.parametrize("proxy", ["user:S3CRET@proxy:3128", "http://user:S3#CRET@proxy:3128"])
def test_an_address_of_a_proxy_that_is_none_is_told_without_its_password(proxy: str) -> None:
    async def test() -> None:
        configuration = client.Configuration()
        configuration.host, configuration.proxy = "https://127.0.0.1:1", proxy
        store = KubeStore(ByClient(client.ApiClient(configuration)), "n")
        try:
            with pytest.raises(Unreachable, match="HTTPS_PROXY") as told:
                await store.get(Kind.LOCK, "l")
            assert "CRET" not in "".join(traceback.format_exception(told.value))
        finally:
            await store.close()

    asyncio.run(test())


@pytest.mark.parametrize("host", ["https://h:port", "myhost", "ftp://h"])
def test_who_waits_for_a_lock_is_told_at_once_that_an_address_is_none(host: str) -> None:
    async def test() -> None:
        configuration = client.Configuration()
        configuration.host = host
        store = KubeStore(ByClient(client.ApiClient(configuration)), "n")
        try:
            async with asyncio.timeout(10):
                with pytest.raises(
                    Unavailable, match="the API server's address is none, or that of its proxy"
                ):
                    await Client(store).lock("l").acquire()
        finally:
            await store.close()

    asyncio.run(test())


def test_a_token_that_the_kubelet_writes_anew_is_read_again(
    visit: Callable[..., None], account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def calls(store: KubeStore) -> None:
        await store.get(Kind.LOCK, "l")
        (account / "token").write_text("second")
        assert await store.get(Kind.LOCK, "l")  # (it is read once a minute, and where the server refuses it)
        monkeypatch.setattr(connections, "_TOKEN_SECONDS", 0.0)
        (account / "token").write_text("third")
        assert await store.get(Kind.LOCK, "l")
        (account / "refused").touch()
        with pytest.raises(Denied, match=r"does not know who you are \(Unauthorized\): log in again"):
            await store.get(Kind.LOCK, "l")

    visit(calls)


def test_a_server_of_another_authority_is_told_no_token(visit: Callable[..., None], tmp_path: Path) -> None:
    other = tmp_path / "other"
    certify(other)
    shutil.copy(tmp_path / "account" / "token", other)

    async def calls(store: KubeStore) -> None:
        with pytest.raises(Unavailable, match="certificate verify failed"):
            await store.get(Kind.LOCK, "l")

    visit(calls, other)


@pytest.mark.parametrize("address", ["https://127.0.0.1:{port}", "https://"])
def test_a_server_that_can_t_be_reached_so_has_no_login_asked_for_another_token(
    visit: Callable[..., None], tmp_path: Path, address: str
) -> None:
    """It would take its time, and mend nothing."""
    other, logins = tmp_path / "other", 0
    certify(other)

    async def log_in() -> None:
        nonlocal logins
        logins += 1

    async def calls(_: KubeStore) -> None:
        known = client.Configuration(host=address.format(port=os.environ["KUBERNETES_SERVICE_PORT"]))
        known.ssl_ca_cert, known.api_key = str(other / "ca.crt"), {"BearerToken": "Bearer first"}
        store = KubeStore(ByClient(client.ApiClient(known), Login(log_in, None)), "here")
        with pytest.raises(
            Unavailable,
            match=r"(does not answer: .*certificate verify failed|address is none, or that)",
        ):
            await store.get(Kind.LOCK, "l")
        assert logins == 0
        await store.close()

    visit(calls)


@pytest.mark.parametrize("by_client", [False, True])
def test_a_deletion_whose_answer_is_lost_is_not_sent_again(
    visit: Callable[..., None], account: Path, cut: list[str], by_client: bool
) -> None:
    """It may have been done, and who sends it again is told that there is nothing."""

    async def calls(store: KubeStore) -> None:
        if by_client:
            known = client.Configuration(host=f"https://127.0.0.1:{os.environ['KUBERNETES_SERVICE_PORT']}")
            known.ssl_ca_cert, known.api_key = str(account / "ca.crt"), {"BearerToken": "Bearer first"}
            store = KubeStore(ByClient(client.ApiClient(known)), "here")
        assert await store.get(Kind.LOCK, "l")
        with pytest.raises(Unavailable):
            await store.delete(Kind.LOCK, "l")
        assert len(cut) == 1
        if by_client:
            await store.close()

    visit(calls)


def test_many_may_wait_for_an_answer_at_the_same_time(
    visit: Callable[..., None],
) -> None:
    """Each who waits for a lock does so for an event, and who holds one has to renew it."""

    async def calls(store: KubeStore) -> None:
        async with asyncio.timeout(30):
            watches = [aiter(store.watch(Scope(Kind.LOCK, name="l"), 1)) for _ in range(101)]
            changes = await asyncio.gather(*(anext(one) for one in watches))  # (each says that it has begun)
            assert len(changes) == 101
            assert await store.get(Kind.LOCK, "l")
            for one in watches:
                await one.aclose()  # type: ignore[attr-defined]

    visit(calls)
