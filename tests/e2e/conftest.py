"""Tests against the cluster of $KUBECONFIG, where `make deploy` has been. Each has a namespace of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.kube import SYSTEM, Kube, kubectl

_OFFLINE = Path.home() / ".cache/offline-kind/bin"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session", autouse=True)
def _cluster() -> None:
    if shutil.which("kubectl") is None and _OFFLINE.is_dir():
        os.environ["PATH"] += os.pathsep + str(_OFFLINE)
    missing = ""
    if shutil.which("kubectl") is None:
        missing = "there is no kubectl"
    elif "deployed" not in (found := kubectl("-n", SYSTEM, "get", "deployment", "gristmill", code=None)):
        missing = "" if "gristmill" in found and "NotFound" not in found else f"no operator: {found.strip()}"
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


@pytest.fixture
def kube(request: pytest.FixtureRequest) -> Iterator[Kube]:
    """Give a namespace in which Pod Security `restricted` is enforced."""
    here = Kube(f"e2e-{secrets.token_hex(3)}")
    kubectl("create", "namespace", here.namespace)
    kubectl("label", "namespace", here.namespace, "pod-security.kubernetes.io/enforce=restricted")
    failures = request.session.testsfailed
    yield here
    if request.session.testsfailed > failures:
        _tell(here)
    kubectl("delete", "namespace", here.namespace, "--wait=false", code=None)


def _tell(here: Kube) -> None:
    """Print what explains a failure: states, Events, logs."""
    for words in (
        ["get", "chj,jobs,pods,secrets", "-o", "wide"],
        ["get", "chj", "-o", "yaml"],
        ["get", "events", "--sort-by=.lastTimestamp"],
        ["logs", "-l", "gristmill.dev/uid", "--tail=30", "--prefix"],
    ):
        print(f"$ kubectl {' '.join(words)}\n{here.ctl(*words, code=None)}", file=sys.stderr)
    words = ["logs", "-l", "app.kubernetes.io/name=gristmill", "--tail=60", "--prefix"]
    print(kubectl("-n", SYSTEM, *words, code=None), file=sys.stderr)
