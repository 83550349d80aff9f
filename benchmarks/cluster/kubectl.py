"""What is measured is what people see who use kubectl."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMESPACE = "gristmill-bench"
SYSTEM = "gristmill-system"
#: seconds after which something that should come will not
_PATIENCE = 600


def kubectl(*words: str, stdin: str | None = None) -> str:
    """Run kubectl in the namespace of the benchmarks."""
    command = ["kubectl", "-n", NAMESPACE, *words]
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def applied(*manifests: dict[str, Any]) -> None:
    """Apply objects, all in one call."""
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))


@contextmanager
def namespace() -> Iterator[None]:
    """Make the namespace, and delete it in the end."""
    subprocess.run(["kubectl", "create", "namespace", NAMESPACE], capture_output=True, check=False)
    try:
        yield
    finally:
        if kubectl("api-resources", "--api-group=gristmill.dev", "-o", "name").strip():
            kubectl("delete", "chunkjobs,jobs", "--all", "--timeout=300s")
        subprocess.run(["kubectl", "delete", "namespace", NAMESPACE], capture_output=True, check=False)


def until_complete(kind: str, names: list[str], condition: str) -> None:
    """Wait until all are complete."""
    kubectl(
        "wait",
        *[f"{kind}/{name}" for name in names],
        f"--for=condition={condition}",
        f"--timeout={_PATIENCE}s",
    )


def seconds_to_complete(kind: str, condition: str, *manifests: dict[str, Any]) -> float:
    """Apply objects, wait until all are complete, and delete them; return the seconds from the one to the other."""
    names = [manifest["metadata"]["name"] for manifest in manifests]
    started = time.perf_counter()
    applied(*manifests)
    until_complete(kind, names, condition)
    seconds = time.perf_counter() - started
    kubectl("delete", kind, *names, "--timeout=300s")
    return seconds


def worker_image() -> str:
    """Return the image that the operator gives to workers."""
    name = "GRISTMILL_WORKER_IMAGE"
    path = f'{{.spec.template.spec.containers[0].env[?(@.name=="{name}")].value}}'
    return system("get", "deployment", "gristmill", "-o", f"jsonpath={path}")


def system(*words: str) -> str:
    """Run kubectl in the operator's namespace."""
    done = subprocess.run(["kubectl", "-n", SYSTEM, *words], capture_output=True, text=True, check=True)
    return done.stdout


def metrics_of_operator() -> dict[str, float]:
    """Return the metrics of the replica that leads."""
    for pod in system("get", "pods", "-l", "app.kubernetes.io/name=gristmill", "-o", "name").split():
        raw = f"/api/v1/namespaces/{SYSTEM}/pods/{pod.removeprefix('pod/')}:8080/proxy/metrics"
        text = system("get", "--raw", raw)
        found = {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line and not line.startswith("#")
        }
        if found.get("gristmill_leading"):
            return found
    raise RuntimeError("no operator leads")


def requests_at_api_server() -> dict[tuple[str, str, str], float]:
    """Return the writes that the API server has counted: by verb, resource and subresource."""
    found: dict[tuple[str, str, str], float] = {}
    for line in system("get", "--raw", "/metrics").splitlines():
        if not line.startswith("apiserver_request_total{"):
            continue
        labels = dict(
            part.split("=", 1)
            for part in line[line.index("{") + 1 : line.rindex("}")].split(",")
            if "=" in part
        )
        verb, resource, sub = (
            labels.get(name, "").strip('"') for name in ("verb", "resource", "subresource")
        )
        if verb in ("POST", "PUT", "PATCH", "APPLY", "DELETE"):
            key = (verb, resource, sub)
            found[key] = found.get(key, 0) + float(line.rpartition(" ")[2])
    return found
