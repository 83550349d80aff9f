"""A node goes while a ChunkJob runs: for a kind cluster of three nodes, by `make e2e-faults`.

A volume of such a cluster is on one node, so the results are kept in the queue, which is on another one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.e2e.kube import SYSTEM, Kube, chunk_job, kubectl, until
from tests.e2e.rig import QUEUE_POD, deaths, docker, dying_operator, node

pytestmark = [pytest.mark.alone, pytest.mark.e2e_faults, pytest.mark.timeout(600)]

SOURCE = "import time\n\ndef process(x):\n    time.sleep(0.2)\n    return [x, x * x / 7]\n"
COUNT = 600


@pytest.fixture
def victim() -> Iterator[str]:
    """Give a node that has neither the control plane nor the queue; in the end it is back."""
    control = node()
    until(lambda: "1/1" in kubectl("-n", SYSTEM, "get", "pod", QUEUE_POD))  # (before that it is on no node)
    found = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    pod = ["-n", SYSTEM, "get", "pod", QUEUE_POD, "-o", "jsonpath={.spec.nodeName}"]
    kept = {control, kubectl(*pod).strip()}
    names = [one["metadata"]["name"] for one in found if one["metadata"]["name"] not in kept]
    if len(found) < 3 or not names:
        pytest.skip("it needs three nodes, one of them without the queue")
    yield names[0]
    docker("start", names[0])
    kubectl("uncordon", names[0])
    kubectl("wait", f"node/{names[0]}", "--for=condition=Ready", "--timeout=90s")
    until(lambda: "1/1" in kubectl("-n", SYSTEM, "get", "pod", QUEUE_POD))


def test_a_node_is_drained(kube: Kube, victim: str) -> None:
    _start(kube, victim)
    kubectl("drain", victim, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s")
    _assert_as_calm(kube)


def test_a_node_stops(kube: Kube, victim: str) -> None:
    """And its pods do not stay in the way: they are deleted by force, and the operator is killed when it has."""
    with dying_operator("DELETE Pod"):
        _start(kube, victim)
        docker("kill", victim)
        until(deaths, 240)
    until(lambda: victim not in _nodes(kube), 180)
    _assert_as_calm(kube)


def _start(kube: Kube, victim: str) -> None:
    """Start workers on all nodes, the victim among them, and wait until they work."""
    spread = {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "podAffinityTerm": {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"gristmill.dev/chunkjob": "mill"}},
                    },
                }
            ]
        }
    }
    workers = {"max": 3, "leaseSeconds": 3, "template": {"affinity": spread}}
    kube.apply(
        chunk_job(
            input={"range": {"stop": COUNT}}, chunks={"size": 1}, process={"source": SOURCE}, workers=workers
        )
    )
    until(lambda: kube.status("mill").get("workers") == 3 and kube.status("mill")["chunks"]["succeeded"])
    assert victim in _nodes(kube)


def _nodes(kube: Kube) -> set[str]:
    pods = kube.all("pods", "gristmill.dev/chunkjob=mill")
    return {
        pod["spec"].get("nodeName", "") for pod in pods if pod["status"]["phase"] in ("Pending", "Running")
    }


def _assert_as_calm(kube: Kube) -> None:
    status = kube.await_complete("mill", 200)
    assert status["items"]["succeeded"] == COUNT
    words = [sys.executable, "-m", "gristmill", "results", "mill", "-n", kube.namespace]
    printed = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    assert [json.loads(line) for line in printed.splitlines()] == [[x, x * x / 7] for x in range(COUNT)]
