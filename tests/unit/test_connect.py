"""Which cluster a kube config leads to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gristmill.remote.cluster import NoCluster, connect


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kube config with the contexts a and b, and no current one."""
    path = tmp_path / "kubeconfig"
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    write(path)
    return path


def write(path: Path, **more: Any) -> None:
    config = {
        "clusters": [{"name": name, "cluster": {"server": f"http://{name}.invalid"}} for name in "ab"],
        "contexts": [
            {"name": "a", "context": {"cluster": "a"}},
            {"name": "b", "context": {"cluster": "b", "namespace": "apps"}},
        ],
    }
    path.write_text(json.dumps(config | more))
    path.chmod(0o600)


@pytest.mark.parametrize("current", [{}, {"current-context": ""}, {"current-context": "gone"}])
def test_a_context_that_is_named_needs_no_current_one(written: Path, current: dict[str, str]) -> None:
    write(written, **current)
    found = connect("b")
    assert (found.client.configuration.host, found.namespace) == ("http://b.invalid", "apps")
    assert (connect("a").namespace, connect("a", "there").namespace) == ("default", "there")


def test_the_current_context_is_meant_where_none_is_named(written: Path) -> None:
    write(written, **{"current-context": "a"})
    assert connect().client.configuration.host == "http://a.invalid"
    assert connect("b").client.configuration.host == "http://b.invalid"


@pytest.mark.parametrize(
    ("context", "current", "words"),
    [
        (None, {}, "names no current context; it has a, b"),
        (None, {"current-context": "gone"}, "no context 'gone'; it has a, b"),
        ("b", {"clusters": []}, "context 'b' leads nowhere"),
        (None, {"clusters": [], "current-context": "a"}, "context 'a' leads nowhere"),
        ("c", {}, "no context 'c'; it has a, b"),
        ("c", {"contexts": []}, "no context 'c'; it has none"),
    ],
)
def test_what_a_kube_config_lacks_is_said(
    written: Path, context: str | None, current: dict[str, Any], words: str
) -> None:
    write(written, **current)
    with pytest.raises(NoCluster, match=words):
        connect(context)


@pytest.mark.parametrize("context", [None, "a"])
def test_no_kube_config_is_said(written: Path, context: str | None) -> None:
    written.unlink()
    with pytest.raises(NoCluster, match="there is no kube config"):
        connect(context)


@pytest.mark.parametrize("context", [None, "a"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a: [", "is not one: .*expected the node content"),
        (b"a:\tb", "is not one: .*cannot start any token"),
        (b"- 1", "is not one: "),
        (b"hello", "is not one: "),
        (b"\xff\xfe", "is not one: .*can't decode byte"),
        (b"contexts: [{context: {}}]", "is not one: an entry has no 'name'"),
        (b"contexts: [null]", "is not one: "),
        (b"contexts: [{name: a}]\ncurrent-context: a", "context 'a' leads nowhere: .*Expected key context"),
        (b"contexts: [{name: a, context: 3}]\ncurrent-context: a", "context 'a' leads nowhere: "),
        (b"contexts: [{name: 1, context: {}}]\ncurrent-context: [a]", "has no context .*; it has 1"),
    ],
)
def test_a_kube_config_that_is_none_is_said(
    written: Path, context: str | None, text: bytes, words: str
) -> None:
    written.write_bytes(text)
    with pytest.raises(NoCluster, match=words) as told:
        connect(context)
    assert "\n" not in str(told.value)


def test_a_namespace_that_yaml_reads_as_a_number_is_a_name(written: Path) -> None:
    write(written, contexts=[{"name": "a", "context": {"cluster": "a", "namespace": 123}}])
    assert connect("a").namespace == "123"


def test_a_kube_config_that_is_a_folder_is_said(written: Path) -> None:
    written.unlink()
    written.mkdir()
    with pytest.raises(NoCluster, match=r"is not one: .*Is a directory"):
        connect()
