"""The chart over running jobs: upgraded, and taken away and brought back."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
from tests.builders import COUNT
from tests.e2e.kube import SYSTEM, Kube, chunk_job, kubectl, queue, until
from tests.e2e.rig import deaths, leader, no_operator
from tests.e2e.volumes import SMALL, await_ready, file_volume

pytestmark = pytest.mark.alone
CHART = Path(__file__).parents[2] / "charts/gristmill"
SLOW = "import time\n\ndef process(x):\n    time.sleep(0.2)\n    return x\n"


def helm(*words: str) -> str:
    done = subprocess.run(
        ["helm", "-n", SYSTEM, *words], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def values(tmp_path: Path) -> Iterator[Path]:
    """Give the values of the release, which is there again in the end."""
    path = tmp_path / "values.json"
    path.write_text(helm("get", "values", "gristmill", "-o", "json"))
    yield path
    install(path)


def install(values: Path, *words: str) -> None:
    helm(
        "upgrade",
        "--install",
        "gristmill",
        str(CHART),
        "-f",
        str(values),
        "--take-ownership",
        "--wait",
        *words,
    )


def _begun(kube: Kube) -> None:
    kube.apply(chunk_job(process={"source": SLOW}, chunks={"size": 1}))
    until(lambda: (kube.status("mill").get("chunks") or {}).get("succeeded"))


def test_it_tests_itself() -> None:
    assert "Phase:          Succeeded" in helm("test", "gristmill")


def test_an_upgrade_does_not_touch_what_runs(kube: Kube, values: Path) -> None:
    _begun(kube)
    before = {pod["metadata"]["uid"] for pod in kube.all("pods")}
    install(values, "--set", f"podAnnotations.again=t{time.time_ns()}")
    assert kube.await_complete("mill")["items"]["succeeded"] == 100
    assert {pod["metadata"]["uid"] for pod in kube.all("pods")} <= before


def test_jobs_go_on_without_the_operator_and_end_when_it_is_back(kube: Kube, values: Path) -> None:
    _begun(kube)
    helm("uninstall", "gristmill", "--wait")
    assert "chunkjobs.gristmill.dev" in kubectl("get", "crd", "-o", "name")
    until(lambda: all(pod["status"]["phase"] == "Succeeded" for pod in kube.all("pods")))
    install(values)
    assert kube.await_complete("mill")["items"]["succeeded"] == 100


def test_an_upgrade_changes_the_queue_and_says_what_it_can_not_change(kube: Kube, values: Path) -> None:
    _begun(kube)
    install(values, "--set", "queue.capacity=500Mi")
    until(lambda: _queue()["spec"]["capacity"] == "500Mi")
    install(values, "--set", "queue.storageClassName=another")
    until(lambda: "can't change" in _queue()["status"]["conditions"][0]["message"])
    assert kube.await_complete("mill")["items"]["succeeded"] == 100


def test_what_is_left_of_a_job_is_removed_where_only_some_namespaces_are_watched(
    kube: Kube, values: Path
) -> None:
    install(values, "--set", f"watch.namespaces={{{kube.namespace}}}")
    _begun(kube)
    uid = kube.uid("mill")
    with no_operator():
        kube.ctl("patch", "chj", "mill", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
        kube.ctl("delete", "chj", "mill")
    until(lambda: uid not in queue("ACL", "USERS"), 120)
    until(lambda: uid not in queue("KEYS", "*"))


def test_a_watched_namespace_is_deleted_and_made_again(kube: Kube, values: Path) -> None:
    """The operator's Role goes with it, here before all else: Kubernetes says not in which order."""
    watched = ("--set", f"watch.namespaces={{{kube.namespace}}}")
    install(values, *watched)
    kube.apply(file_volume(deletionPolicy="Retain", **SMALL))
    await_ready(kube)
    _begun(kube)
    uid, operators, before = kube.uid("mill"), leader(), deaths()
    kube.ctl("delete", "role,rolebinding", "gristmill")
    kubectl("delete", "namespace", kube.namespace, "--timeout=110s")
    assert uid not in queue("ACL", "USERS") + queue("KEYS", "*")
    kubectl("create", "namespace", kube.namespace)
    kube.apply(chunk_job())
    install(values, *watched)
    kube.await_complete("mill")
    assert (leader(), deaths()) == (operators, before)


def test_where_it_does_not_watch_the_operator_may_change_only_what_is_deleted(
    kube: Kube, values: Path
) -> None:
    install(values, "--set", f"watch.namespaces={{{SYSTEM}}}")
    mill = chunk_job()
    mill["metadata"]["finalizers"] = ["gristmill.dev/queue"]
    kube.apply(mill)
    client = kubernetes.config.new_client_from_config()
    client.set_default_header("Impersonate-User", f"system:serviceaccount:{SYSTEM}:gristmill")
    of_operator = kubernetes.client.CustomObjectsApi(client)
    where = ("gristmill.dev", "v1alpha1", kube.namespace, "chunkjobs", "mill")
    with pytest.raises(kubernetes.client.ApiException, match="only what is being deleted"):
        of_operator.patch_namespaced_custom_object(*where, {"spec": {"suspend": True}})
    kube.ctl("delete", "chj", "mill", "--wait=false")
    of_operator.patch_namespaced_custom_object(*where, {"metadata": {"finalizers": None}})
    assert kube.get("chj", "mill") is None
    with pytest.raises(kubernetes.client.ApiException, match="cannot get resource"):
        of_operator.get_namespaced_custom_object(*where)


def test_workers_coordinate_where_only_some_namespaces_are_watched(kube: Kube, values: Path) -> None:
    install(values, "--set", f"watch.namespaces={{{kube.namespace}}}")
    kube.apply(chunk_job(process={"source": COUNT}, chunks={"size": 1}, coordination=True))
    kube.await_complete("mill")
    count = kube.get("configmap", "tests.count")
    assert count is not None
    assert count["data"]["value"] == "100"


def _queue() -> dict[str, Any]:
    found = json.loads(kubectl("-n", SYSTEM, "get", "gcache", "gristmill-queue", "-o", "json"))
    return dict(found)
