"""A login that runs out: the plugin of a kube config is asked again, in time, once, and however long it takes."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientTimeout, web
from kubernetes.aio import client as api

from gristmill.coordination import acquiring, kube, login, saying
from gristmill.coordination.aio import Client
from gristmill.coordination.connecting import open_store
from gristmill.coordination.connections import ByClient
from gristmill.coordination.errors import Denied, Unavailable
from gristmill.coordination.holding import Hold, keep
from gristmill.coordination.kube import KubeStore
from gristmill.coordination.kube_objects import KIND_LABEL
from gristmill.coordination.login import Login
from gristmill.coordination.port import Kind, Record, Store

LEASE = {
    "metadata": {"name": "l", "uid": "u", "resourceVersion": "7", "labels": {KIND_LABEL: "lock"}},
    "spec": {"holderIdentity": "me"},
}


class Cluster:
    """An API server that knows the token of a file, which a kube config's plugin prints; and how often it did."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.token, self._calls = folder / "token", folder / "calls"
        self.refused = 0
        self._plugin, self._config = folder / "plugin", folder / "kubeconfig"
        #: what the kube config says of who logs in: the plugin alone where this is None
        self.user: dict[str, Any] | None = None
        self.scheme = "http"
        for name in ("GRISTMILL_COORDINATION", "GRISTMILL_JOB", "KUBERNETES_SERVICE_HOST"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(
            "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(self._config)
        )

    @property
    def calls(self) -> int:
        return len(self._calls.read_text().splitlines())

    def says(self, token: str, seconds: float = 3600, first: str = "true") -> None:
        """Have the plugin do something first, and print a token, which it says is good for some time."""
        version = "client.authentication.k8s.io/v1"
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        status = {"token": token, "expirationTimestamp": until}
        told = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})
        self._plugin.unlink(missing_ok=True)  # (one that runs goes on as it was)
        self._plugin.write_text(f"#!/bin/sh\necho called >> {self._calls}\n{first}\necho '{told}'\n")
        self._plugin.chmod(0o700)

    def run(self, test: Callable[[Store], Awaitable[None]]) -> None:
        async def answer(request: web.Request) -> web.Response:
            known = [f"Bearer {token}" for token in self.token.read_text().split()]
            if (who := request.headers.get("Authorization")) is None:  # (as by default)
                said = 'leases is forbidden: User "system:anonymous" cannot get resource "leases"'
                return web.json_response({"message": said, "reason": "Forbidden"}, status=403)
            if who not in known:
                self.refused += 1
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
            "clusters": [{"name": "c", "cluster": {"server": f"{self.scheme}://127.0.0.1:{port}"}}],
            "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": self.user or {"exec": plugin}}],
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
        login_of(store)._not_before -= 60
        assert await store.get(Kind.LOCK, "l")

    cluster.run(test)


def connection_of(store: Store) -> ByClient:
    assert isinstance(store, KubeStore)
    assert isinstance(store._connection, ByClient)
    return store._connection


def login_of(store: Store) -> Login:
    found = connection_of(store)._login
    assert found is not None
    return found


async def has_ended(store: Store) -> None:
    """Wait until the login that goes on has ended."""
    if (task := login_of(store)._task) is not None:
        await asyncio.wait({task})


def test_a_plugin_that_takes_long_is_waited_for_as_long_as_each_can_and_asked_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(login, "_PAUSE_SECONDS", 0.0)

    async def test(store: Store) -> None:
        cluster.token.write_text("second")
        cluster.says("second", first="sleep 2")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await store.get(Kind.LOCK, "l")
        waits = [store.get(Kind.LOCK, "l") for _ in range(3)]
        for error in await asyncio.gather(*waits, return_exceptions=True):
            assert isinstance(error, Unavailable)
            assert str(error).endswith(": the kube config's login has not ended for 0.5 s")
        monkeypatch.setattr(kube, "_ANSWER_SECONDS", 10.0)
        assert await store.get(Kind.LOCK, "l")
        assert cluster.calls == 2

    cluster.run(test)


def test_who_waits_for_a_lock_while_the_login_hangs_is_told_that_it_is_the_login(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(acquiring, "_LATE_SECONDS", 0.5)

    async def test(store: Store) -> None:
        cluster.token.write_text("second")
        cluster.says("second", first="exec sleep 600")
        words = "^the kube config's login has not ended in time: see what its command waits for$"
        with pytest.raises(Unavailable, match=words):
            await Client(store).lock("l").acquire(0.2)
        record = Record(Kind.LOCK, "l")
        await keep(store, Hold("me", 1, record, time.monotonic() + 0.5), 1, time.monotonic)

    cluster.run(test)
    saying._speaker.finish()
    assert caplog.messages == [
        "lock l can't be renewed now: the kube config's login has not ended in time: see what its command waits for"
    ]


def test_a_login_whose_end_is_known_is_renewed_before_that(cluster: Cluster) -> None:
    cluster.says("first", seconds=4)
    cluster.token.write_text("first second")

    async def test(store: Store) -> None:
        assert await store.get(Kind.LOCK, "l")
        cluster.says("second")
        begin = time.monotonic()
        while cluster.calls == 1:
            assert time.monotonic() < begin + 4
            assert await store.get(Kind.LOCK, "l")
            await asyncio.sleep(0.05)
        assert time.monotonic() > begin + 2
        await has_ended(store)
        cluster.token.write_text("second")
        assert await store.get(Kind.LOCK, "l")
        assert (cluster.calls, cluster.refused) == (2, 0)

    cluster.run(test)


@pytest.mark.parametrize("first", ["true", "sleep 1"])
def test_a_plugin_that_gives_the_same_token_until_its_end_is_asked_again_at_once_then(
    cluster: Cluster, first: str
) -> None:
    """Also where it was asked just before, or still is."""
    cluster.says("first", seconds=2)

    async def test(store: Store) -> None:
        cluster.says("first", seconds=2, first=first)
        begin = time.monotonic()
        while cluster.calls == 1:
            assert time.monotonic() < begin + 4
            assert await store.get(Kind.LOCK, "l")
            await asyncio.sleep(0.05)
        if first == "true":
            await has_ended(store)
        cluster.says("second")
        cluster.token.write_text("second")
        assert all(await asyncio.gather(*(store.get(Kind.LOCK, "l") for _ in range(5))))
        assert cluster.calls == 3

    cluster.run(test)


def test_why_a_plugin_fails_at_first_is_told(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    cluster.says("first", first="echo 'log in at https://there' >&2; exit 1")

    async def test(store: Store) -> None:
        cluster.says("first")
        assert await store.get(Kind.LOCK, "l")

    cluster.run(test)
    saying._speaker.finish()
    (line,) = [line for line in caplog.messages if line.startswith("the kube config's login failed: ")]
    assert "log in at https://there" in line


@pytest.mark.parametrize(
    ("fails", "why"),
    [
        ("echo 'the session has expired' >&2; exit 1", "the session has expired"),
        ("echo hello; exit", "hello|value"),
        ("echo '{}'; exit", "."),
        (None, "No such file"),
    ],
)
@pytest.mark.parametrize("hears", [True, False])
def test_a_plugin_that_fails_from_the_first_is_what_is_told_and_not_that_rights_are_missing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, fails: str | None, why: str, hears: bool
) -> None:
    monkeypatch.setattr(logging.getLogger("kubernetes.aio.config.kube_config"), "disabled", not hears)
    if fails is None:
        cluster.user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/no/such"}}
    else:
        cluster.says("first", first=fails)

    async def test(store: Store) -> None:
        for _ in range(2):
            with pytest.raises(
                Denied, match=rf"^the kube config's login failed: .*({why if hears else '.'})"
            ) as told:
                await store.get(Kind.LOCK, "l")
            assert "system:anonymous" not in str(told.value)
        if fails is not None:
            assert cluster.calls == 2
            cluster.says("first")
            login_of(store)._not_before -= 60
            assert await store.get(Kind.LOCK, "l")

    cluster.run(test)


def test_who_has_no_login_in_the_kube_config_is_told_what_rights_are_missing(cluster: Cluster) -> None:
    cluster.user = {"username": "nobody"}

    async def test(store: Store) -> None:
        with pytest.raises(Denied, match=r'does not let you: .*"system:anonymous" cannot get'):
            await store.get(Kind.LOCK, "l")

    cluster.run(test)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not there")
def test_a_login_by_a_certificate_has_no_token_that_could_be_missed(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=test -keyout key -out crt"
    subprocess.run(["openssl", *words.split()], check=True, capture_output=True, cwd=tmp_path)
    cluster.scheme = "https"  # (`kubernetes` takes none else)
    cluster.user = {"client-certificate": str(tmp_path / "crt"), "client-key": str(tmp_path / "key")}

    async def test(store: Store) -> None:
        await login_of(store).renew(10)

    cluster.run(test)
    saying._speaker.finish()
    assert "can't be renewed" not in caplog.text


def test_an_answer_is_let_go_of_where_the_login_takes_too_long() -> None:
    class Answer:
        status, closed = 401, False

        def close(self) -> None:
            self.closed = True

    async def never() -> None:
        await asyncio.sleep(60)

    async def test() -> None:
        client, answer = api.ApiClient(), Answer()
        connection = ByClient(client, made := Login(never, None))

        async def send(*_: object) -> Answer:
            return answer

        connection._send = send  # type: ignore[assignment, method-assign]
        with pytest.raises(TimeoutError, match="has not ended for"):
            await connection.send("GET", "/", {}, None, ClientTimeout(total=0.1))
        assert answer.closed
        assert made._task is not None
        await connection.close()
        assert made._task.cancelled()

    asyncio.run(test())


def test_a_clock_by_which_each_login_is_over_has_none_renewed(cluster: Cluster) -> None:
    cluster.says("first", seconds=-60)

    async def test(store: Store) -> None:
        for _ in range(3):
            assert await store.get(Kind.LOCK, "l")
        assert cluster.calls == 1

    cluster.run(test)


def test_a_client_that_is_closed_waits_for_no_login() -> None:
    async def never() -> None:
        await asyncio.sleep(60)

    async def test() -> None:
        made = Login(never, None)
        with pytest.raises(TimeoutError):
            await made.renew(0.1)
        async with asyncio.timeout(5):
            await made.close()

    asyncio.run(test())


@pytest.mark.parametrize("is_first", [True, False])
def test_a_plugin_ends_with_the_client_that_has_asked_it(
    cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str], is_first: bool
) -> None:
    """Also one that hangs, and whose output another process has, too."""
    pid = tmp_path / "pid"

    async def test(store: Store) -> None:
        cluster.says("second", first=f"sleep 8 & echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600")
        cluster.token.write_text("second")
        asking = asyncio.create_task(open_store() if is_first else store.get(Kind.LOCK, "l"))
        while not pid.exists():
            assert not asking.done()
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()
        if not is_first:
            await store.close()
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)

    begin = time.monotonic()
    cluster.run(test)
    gc.collect()
    assert time.monotonic() < begin + 5
    assert capfd.readouterr().err == ""


def test_why_a_plugin_fails_is_told_once_though_nobody_takes_what_is_logged(cluster: Cluster) -> None:
    """`kubernetes` logs that itself, in the loop."""
    goes_on, lines = threading.Event(), list[str]()
    handler = logging.NullHandler()
    handler.handle = lambda record: lines.append(record.getMessage()) or goes_on.wait(30)  # type: ignore
    names = ("kubernetes.aio.config", "gristmill.coordination")

    async def test(store: Store) -> None:
        cluster.token.write_text("second")
        cluster.says("second", first="echo 'log in at https://there' >&2; exit 1")
        begin = time.monotonic()
        with pytest.raises(Denied, match="log in again"):
            await store.get(Kind.LOCK, "l")
        assert time.monotonic() < begin + 10

    try:
        for name in names:
            logging.getLogger(name).addHandler(handler)
        cluster.run(test)
        goes_on.set()
        saying._speaker.finish()
    finally:
        goes_on.set()
        for name in names:
            logging.getLogger(name).removeHandler(handler)
    (line,) = lines
    assert line.startswith("the kube config's login can't be renewed: exec: process returned 1. ")
    assert "log in at https://there" in line


@pytest.mark.parametrize("fails", ["exit 1", "echo '{}'; exit"])
def test_a_plugin_that_fails_is_asked_again_though_nobody_hears_of_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: str
) -> None:
    """`kubernetes` does not raise what a plugin fails by: it logs it, which a program may have forbidden."""
    monkeypatch.setattr(login, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(logging.getLogger("kubernetes.aio.config.kube_config"), "disabled", True)
    cluster.says("first", seconds=4)
    cluster.token.write_text("first second")

    async def test(store: Store) -> None:
        cluster.says("second", first=fails)
        begin = time.monotonic()
        while cluster.calls < 3:
            assert time.monotonic() < begin + 6
            assert await store.get(Kind.LOCK, "l")
            await asyncio.sleep(0.05)
        cluster.says("second")
        await login_of(store).renew(10)  # (one that may go on)
        await login_of(store).renew(10)
        cluster.token.write_text("second")
        assert await store.get(Kind.LOCK, "l")
        assert cluster.refused == 0

    cluster.run(test)
    saying._speaker.finish()
    assert "the kube config's login can't be renewed: it gave no token" in caplog.text


def test_why_a_login_fails_is_told_without_the_secrets_of_the_kube_config(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.user = {"exec": {"apiVersion": None, "command": "x", "env": ["SECRET"]}, "token": "first"}

    async def test(store: Store) -> None:
        await login_of(store).renew(10)

    cluster.run(test)
    saying._speaker.finish()
    for words in ("failed", "can't be renewed"):
        (line,) = [one for one in caplog.messages if one.startswith(f"the kube config's login {words}: ")]
        assert line.endswith("Expected key apiVersion in the kube config")
    assert "SECRET" not in caplog.text


def test_a_login_that_tells_its_end_no_more_is_asked_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plugin may have failed in favour of what else the kube config has."""
    monkeypatch.setattr(login, "_PAUSE_SECONDS", 0.2)
    ends, calls = [None, None, time.time() + 3600, None], 0

    async def call() -> float | None:
        nonlocal calls
        calls += 1
        return ends[calls - 1]

    async def test() -> None:
        made = Login(call, time.time() + 0.1)
        begin = time.monotonic()
        while calls < 3:
            assert time.monotonic() < begin + 5
            made.look()
            await asyncio.sleep(0.01)
        assert time.monotonic() > begin + 0.4
        await asyncio.sleep(0.3)
        made.look()
        await asyncio.sleep(0.01)
        assert calls == 3
        await made.close()

    asyncio.run(test())


def test_a_file_with_a_token_may_end_its_line(cluster: Cluster) -> None:
    cluster.user = {"tokenFile": str(cluster.token)}

    async def test(store: Store) -> None:
        assert await store.get(Kind.LOCK, "l")
        cluster.token.write_text("second\r\n")
        assert await store.get(Kind.LOCK, "l")

    cluster.token.write_text("first\n")
    cluster.run(test)


def test_a_token_that_can_t_be_sent_is_told_until_there_is_another(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "_PAUSE_SECONDS", 0.0)
    cluster.user = {"tokenFile": str(cluster.token)}

    async def test(store: Store) -> None:
        sends, connection = 0, connection_of(store)
        real = connection._send

        async def send(*args: Any) -> ClientResponse:
            nonlocal sends
            sends += 1
            return await real(*args)

        connection._send = send  # type: ignore[method-assign]
        cluster.token.write_text("second\nthird")
        with pytest.raises(Unavailable, match="can't be asked: "):  # (the former is refused first)
            await store.get(Kind.LOCK, "l")
        sends = 0
        for _ in range(2):
            with pytest.raises(Unavailable, match="can't be asked: "):
                await store.get(Kind.LOCK, "l")
        assert sends == 2
        cluster.token.write_text("fourth")
        assert await store.get(Kind.LOCK, "l")
        assert sends == 4

    cluster.run(test)


def test_the_end_of_a_token_is_read_where_it_tells_it() -> None:
    said = base64.urlsafe_b64encode(json.dumps({"exp": 1_800_000_000}).encode()).decode().rstrip("=")
    assert login.end_of(f"Bearer head.{said}.sign") == 1_800_000_000
    for token in (
        "",
        "Bearer none",
        "Bearer a.b.c",
        "Bearer k8s-aws-v1.aHR0cHM6Ly9z",
        "Bearer a.W10=.c",
        "a.eyJleHAiOiBbXX0.c",
    ):
        assert login.end_of(token) is None


def test_a_login_is_renewed_a_fifth_of_its_life_and_a_minute_at_the_most_before_its_end() -> None:
    for life, left in ((100, 20), (3600, 60)):
        assert login._due_at(time.time() + life) == pytest.approx(time.monotonic() + life - left, abs=1)
