"""Where a program coordinates that says nothing, or a kube context."""

from __future__ import annotations

import asyncio
import json
import re
import traceback
from pathlib import Path
from typing import Any

import pytest

from gristmill.coordination import connecting
from gristmill.coordination.connecting import open_store
from gristmill.coordination.errors import BadName, Denied, Unavailable
from gristmill.coordination.kube import KubeStore
from gristmill.coordination.port import Kind


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GRISTMILL_COORDINATION", "GRISTMILL_JOB", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig")
    )


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "http://c.invalid"}}],
        "contexts": [
            {"name": "a", "context": {"cluster": "c", "user": "u", "namespace": "here"}},
            {"name": "b", "context": {"cluster": "c", "user": "u", "namespace": "there"}},
        ],
        "users": [{"name": "u", "user": {}}],
        "current-context": "a",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path


async def lease_of(namespace: str | None, context: str | None) -> str:
    """Return where a lock is."""
    store = await open_store(None, namespace, context)
    try:
        assert isinstance(store, KubeStore)
        return store._path(Kind.LOCK, "l")
    finally:
        await store.close()


@pytest.mark.usefixtures("kubeconfig")
@pytest.mark.parametrize(
    ("namespace", "context", "expected"),
    [(None, None, "here"), (None, "b", "there"), ("mine", "b", "mine"), ("mine", None, "mine")],
)
def test_the_namespace_is_that_of_the_context(
    namespace: str | None, context: str | None, expected: str
) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{expected}/leases/l"
    assert asyncio.run(lease_of(namespace, context)) == path


@pytest.mark.usefixtures("kubeconfig")
@pytest.mark.parametrize("wrong", ["..?", "a/b", "A", "a.b", "-a", "a" * 64, "ü", 5])
@pytest.mark.parametrize("by_pod", [False, True])
def test_a_namespace_that_is_none_gets_into_no_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: Any, by_pod: bool
) -> None:
    if by_pod:
        monkeypatch.setattr(connecting, "_SERVICE_ACCOUNT", tmp_path)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        for name in ("token", "namespace"):
            (tmp_path / name).write_text("a")
    with pytest.raises(BadName, match=f"^namespace {re.escape(repr(wrong))}: "):
        asyncio.run(open_store(None, wrong))


def test_nowhere_is_said() -> None:
    with pytest.raises(Unavailable, match="GRISTMILL_COORDINATION names no Valkey"):
        asyncio.run(open_store())


@pytest.mark.usefixtures("kubeconfig")
def test_a_function_of_a_job_does_not_coordinate_by_whatever_cluster_somebody_works_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRISTMILL_JOB", "x")
    with pytest.raises(Denied, match="write `coordination: true` into its spec"):
        asyncio.run(open_store())
    assert "/there/" in asyncio.run(lease_of(None, "b"))


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (None, r"ValueError: oidc: missing configuration"),
        ({"idp-issuer-url": "https://127.0.0.1:1"}, "oidc: .* cannot refresh without refresh-token"),
        (
            {"idp-issuer-url": "https://127.0.0.1:1", "client-id": "c", "client-secret": "s",
             "refresh-token": "r", "idp-certificate-authority-data": "YQ=="},
            "(TypeError|ValueError): .*ssl",
        ),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_why_a_login_fails_at_first_is_said(kubeconfig: Path, known: dict[str, str] | None, why: str) -> None:
    config = json.loads(kubeconfig.read_text())
    login = {"name": "oidc"} | ({"config": known} if known is not None else {})
    config["users"][0]["user"] = {"auth-provider": login}
    kubeconfig.write_text(json.dumps(config))
    with pytest.raises(Unavailable, match=rf"no cluster \(.*{why}"):
        asyncio.run(open_store())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_issuer_that_hangs_up_is_said(kubeconfig: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def test() -> None:
        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            known = {
                "idp-issuer-url": f"http://127.0.0.1:{port}",
                "client-id": "c",
                "client-secret": "s",
                "refresh-token": "r",
            }
            config = json.loads(kubeconfig.read_text())
            config["users"][0]["user"] = {"auth-provider": {"name": "oidc", "config": known}}
            kubeconfig.write_text(json.dumps(config))
            with pytest.raises(Unavailable, match=r"no cluster \(Server disconnected\)"):
                await open_store()

    asyncio.run(test())


def test_what_a_kube_config_lacks_is_said_without_its_secrets(kubeconfig: Path) -> None:
    config = json.loads(kubeconfig.read_text())
    known = {"idp-issuer-url": "https://127.0.0.1:1", "client-id": "c", "refresh-token": "SECRET {\n"}
    config["users"][0]["user"] = {"auth-provider": {"name": "oidc", "config": known}}
    kubeconfig.write_text(json.dumps(config))
    with pytest.raises(Unavailable, match=r"Expected key client-secret in the kube config\), and ") as caught:
        asyncio.run(open_store())
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("where", ["authority", "client"])
def test_a_certificate_that_is_none_is_said(kubeconfig: Path, where: str) -> None:
    config = json.loads(kubeconfig.read_text())
    config["clusters"][0]["cluster"] = {"server": "https://c.invalid"}
    if where == "authority":
        config["clusters"][0]["cluster"]["certificate-authority-data"] = "bm9uZQ=="
    else:
        config["users"][0]["user"] = {"client-certificate-data": "bm9uZQ==", "client-key-data": "bm9uZQ=="}
    kubeconfig.write_text(json.dumps(config))
    words = r"no cluster \(the certificates of the kube config can't be used: .+\), and "
    with pytest.raises(Unavailable, match=words):
        asyncio.run(open_store())


@pytest.mark.parametrize("password", ["/abc", "1234/S3CRET", "1234#S3CRET", "?S3CRET"])
def test_a_password_that_ends_the_address_leads_to_no_other_server(password: str) -> None:
    with pytest.raises(BadName, match=r"percent-encode the password"):
        asyncio.run(open_store(f"redis://:{password}@127.0.0.1:1"))


@pytest.mark.parametrize("letter", "/#?[]")
def test_a_password_with_a_letter_that_ends_it_is_not_told_in_part(letter: str) -> None:
    with pytest.raises(BadName, match=r"percent-encode the password") as caught:
        asyncio.run(open_store(f"redis://:S3cr{letter}et=Pass@127.0.0.1:6379/0"))
    assert not re.search("S3cr|et=|Pass@", str(caught.value))
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("rediss://h/0?ssl_cert_reqs=SECRET", "RedisError"),
        ("redis://h?SECRET=1", "after the `[?]` it takes only client_name, db, .*, username"),
        ("redis://h?encoding=SECRET", "after the `[?]` it takes only"),
        ("redis://h?protocol=3", "after the `[?]` it takes only"),
        ("unix:///s?db=1&decode_responses=1", "after the `[?]` it takes only"),
        ("redis://h?ssl_ca_certs=/SECRET", "TypeError"),
        ("rediss://h?ssl_ca_certs=/SECRET", "its ssl_ options can't be used: No such file"),
        ("rediss://h?ssl_ciphers=SECRET", "its ssl_ options can't be used: .*[Cc]ipher"),
        ("rediss://h?ssl_min_version=3", "ValueError"),
        ("redis://h?db=x", "Invalid value for 'db' in connection URL"),
        ("http://h", "must specify one of the following schemes"),
        ("redis://h:99999", "Port out of range 0-65535"),
    ],
)
def test_what_is_wrong_with_an_address_is_said_where_it_tells_no_secret(wrong: str, words: str) -> None:
    with pytest.raises(BadName, match=rf"^the address of the Valkey is none \(.*{words}") as caught:
        asyncio.run(open_store(wrong))
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "query", ["db=3", "username=me&password=p", "client_name=me&health_check_interval=5"]
)
def test_an_address_may_have_options_that_leave_the_answers_as_they_are(query: str) -> None:
    async def test() -> None:
        await (await open_store(f"redis://127.0.0.1:1?{query}")).close()

    asyncio.run(test())


@pytest.mark.parametrize("wrong", [5, b"redis://:SECRET@v:6379", ["redis://:SECRET@v:6379"]])
def test_an_address_that_is_no_text_is_said_without_its_password(wrong: Any) -> None:
    with pytest.raises(
        BadName, match=r"write redis://HOST:PORT, rediss://HOST:PORT or unix://PATH, and "
    ) as caught:
        asyncio.run(open_store(wrong))
    assert "SECRET" not in str(caught.value)
