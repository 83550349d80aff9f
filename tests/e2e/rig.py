"""Faults for a cluster: what is broken is mended when the `with` ends. And what must be so after each of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.e2e.kube import PATIENCE, SYSTEM, Kube, chunk_job, claim, kubectl, mounted, shell, until

from gristmill.local.run import run

OPERATOR = "deployment/gristmill"
LEASE = "gristmill-operator"
QUEUE_POD = "gristmill-queue-0"
QUEUE_CLAIM = "data-gristmill-queue-0"
#: two hundred numbers in a hundred chunks, each of which takes a tenth of a second
SOURCE = "import time\n\ndef process(x):\n    time.sleep(0.05)\n    return [x, x * x / 7]\n"
#: what is made for a ChunkJob
_OBJECTS = ("pods", "jobs", "secrets", "serviceaccounts", "rolebindings")
_READ = "import json, sys; from gristmill.sinks import read_results; print(json.dumps([*read_results(sys.argv[1])]))"


def written_job(name: str = "mill", **spec: Any) -> dict[str, Any]:
    """Return a ChunkJob with its output on the claim `data`."""
    return chunk_job(
        name,
        **{
            "input": {"range": {"stop": 200}},
            "chunks": {"size": 2},
            "process": {"source": SOURCE},
            "output": {"url": "/data/out"},
            "workers": mounted("data"),
            **spec,
        },
    )


def start(kube: Kube, **spec: Any) -> dict[str, Any]:
    """Apply such a job and its claim; return its manifest."""
    job = written_job(**spec)
    kube.apply(claim("data"), job)
    return job


def await_some(kube: Kube, name: str = "mill") -> None:
    """Wait until a chunk is done."""
    until(lambda: kube.status(name).get("chunks", {}).get("succeeded"))


def assert_as_calm(kube: Kube, job: dict[str, Any], patience: float = PATIENCE) -> dict[str, Any]:
    """See that a job completes with each input once and in its place, as a run that nothing happened to."""
    name = job["metadata"]["name"]
    status = kube.await_complete(name, patience)
    digest, expected = calm(json.dumps(job["spec"], sort_keys=True))
    assert status["outputDigest"] == digest
    assert results(kube, job["spec"]["output"]["url"]) == expected
    return status


def results(kube: Kube, url: str = "/data/out") -> list[Any]:
    """Return what is in an output on the claim `data`."""
    kube.ctl("delete", "pod", "reader", "--ignore-not-found", "--now")
    kube.apply(shell("reader", "data", "python", "-c", _READ, url))
    until(lambda: (kube.get("pod", "reader") or {}).get("status", {}).get("phase") in ("Succeeded", "Failed"))
    return list(json.loads(kube.ctl("logs", "reader")))


@cache
def calm(spec: str) -> tuple[str, list[Any]]:
    """Return digest and results of a calm run of a spec (JSON), on this machine."""
    with TemporaryDirectory() as folder:
        here = json.loads(spec) | {"output": {"url": str(Path(folder) / "out")}, "workers": {"max": 2}}
        with run(chunk_job(**here)) as calmly:
            status = calmly.wait(PATIENCE)
            return str(status["outputDigest"]), list(calmly.results())


def assert_nothing_left(kube: Kube, uid: str, queue: Callable[..., str]) -> None:
    """See that the queue has neither keys nor user of a ChunkJob that is gone, and the namespace nothing of it."""
    until(lambda: uid not in queue("ACL", "USERS"))
    until(lambda: uid not in queue("KEYS", "*"))
    selector = f"gristmill.dev/uid={uid}"
    until(lambda: not any(kube.all(kind, selector) for kind in _OBJECTS))


# -- the operator


def operators() -> list[dict[str, Any]]:
    """Return the operator's pods that are not about to go."""
    found = kubectl("-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "json")
    return [pod for pod in json.loads(found)["items"] if not pod["metadata"].get("deletionTimestamp")]


def leader() -> str:
    """Return the pod that leads."""
    return kubectl("-n", SYSTEM, "get", "lease", LEASE, "-o", "jsonpath={.spec.holderIdentity}").strip()


def deaths() -> int:
    """Return how often the operator's present pods were killed."""
    return sum(
        (status.get("lastState") or status.get("state") or {}).get("terminated", {}).get("exitCode") == 137
        for pod in operators()
        for status in pod.get("status", {}).get("containerStatuses", ())
    )


@contextmanager
def dying_operator(at: str) -> Iterator[None]:
    """Have the operator kill itself whenever it reaches this point; not over what the test before has left."""
    until(lambda: not kubectl("get", "chunkjobs", "-A", "-o", "name"))
    kubectl("-n", SYSTEM, "set", "env", OPERATOR, f"GRISTMILL_OPERATOR_DIES_AT={at}")
    try:
        kubectl("-n", SYSTEM, "rollout", "status", OPERATOR, "--timeout=60s")
        yield
    finally:
        kubectl("-n", SYSTEM, "set", "env", OPERATOR, "GRISTMILL_OPERATOR_DIES_AT-")
        _await_operator()


@contextmanager
def no_operator() -> Iterator[None]:
    """Stop all replicas."""
    count = kubectl("-n", SYSTEM, "get", OPERATOR, "-o", "jsonpath={.spec.replicas}").strip()
    kubectl("-n", SYSTEM, "scale", OPERATOR, "--replicas=0")
    try:
        until(lambda: not operators())
        yield
    finally:
        kubectl("-n", SYSTEM, "scale", OPERATOR, f"--replicas={count}")
        _await_operator()


def _await_operator() -> None:
    kubectl("-n", SYSTEM, "rollout", "status", OPERATOR, "--timeout=90s")


# -- the cluster


def node() -> str:
    """Return the container that is the control plane's node of this kind cluster; the test is skipped elsewhere."""
    context = kubectl("config", "current-context").strip()
    if not context.startswith("kind-") or shutil.which("docker") is None:
        if os.environ.get("CI"):
            pytest.fail("it needs a kind cluster and docker")
        pytest.skip("it needs a kind cluster and docker")
    return f"{context.removeprefix('kind-')}-control-plane"


def docker(*words: str) -> str:
    """Run docker and return what it says."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


@contextmanager
def stopped_api_server() -> Iterator[None]:
    """Have the API server answer nobody."""
    name = node()
    docker("exec", name, "sh", "-c", "kill -STOP $(pidof kube-apiserver)")
    try:
        yield
    finally:
        docker("exec", name, "sh", "-c", "kill -CONT $(pidof kube-apiserver)")
        until(lambda: "ok" in kubectl("get", "--raw", "/readyz", code=None))


@contextmanager
def no_queue() -> Iterator[None]:
    """Keep the queue's pod from running."""
    kubectl(
        "-n", SYSTEM, "patch", "statefulset", "gristmill-queue", "--type=merge", "-p", _selector("nowhere")
    )
    kubectl("-n", SYSTEM, "delete", "pod", QUEUE_POD, "--now", "--wait=true")
    try:
        yield
    finally:
        kubectl(
            "-n", SYSTEM, "patch", "statefulset", "gristmill-queue", "--type=merge", "-p", _selector(None)
        )
        kubectl("-n", SYSTEM, "delete", "pod", QUEUE_POD, "--now", "--ignore-not-found", "--wait=false")
        await_queue()


def await_queue() -> None:
    """Wait until the queue's pod is ready."""

    def ready() -> bool:
        found = kubectl("-n", SYSTEM, "get", "pod", QUEUE_POD, "-o", "json", "--ignore-not-found")
        pod = json.loads(found) if found.strip() else {"metadata": {}}
        conditions = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions", ())}
        return conditions.get("Ready") == "True" and not pod["metadata"].get("deletionTimestamp")

    until(ready)


def _selector(host: str | None) -> str:
    """Return a patch of a pod template: it wants a node of this name."""
    selector = {"kubernetes.io/hostname": host} if host else None
    return json.dumps({"spec": {"template": {"spec": {"nodeSelector": selector}}}})
