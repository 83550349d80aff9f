"""Results at a path that only pods reach: a pod of the same shape as a worker reads them, and hands them here."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from socket import MSG_PEEK as _PEEK
from typing import Any

import orjson
from redis.exceptions import ConnectionError as NoForward

from gristmill.api.names import API_VERSION, KIND
from gristmill.errors import GristmillError
from gristmill.reconcilers.worker_job import belongs, job_name
from gristmill.remote.cluster import Cluster, ClusterError
from gristmill.remote.tunnel import dial
from gristmill.worker.reading import END, PORT

#: seconds that the pod may take to start, and to do its work
_START_SECONDS, _WORK_SECONDS = 90, 3600
_PAUSE = 0.3


def results_from_pods(cluster: Cluster, owner: dict[str, Any], output: str) -> Iterator[list[Any]]:
    """Iterate over the results in a folder of the workers' pods, some at a time; `owner` is the ChunkJob's metadata."""
    job = cluster.get("Job", job_name(owner["name"]))
    if job is None or not belongs(job, owner["uid"]):
        raise GristmillError(
            f"the Job of the workers of {owner['name']} is gone, which had the way to {output}: "
            "read it in a pod that mounts the same claim"
        )
    name = f"{owner['name'][:48]}-results-{secrets.token_hex(3)}"
    cluster.create(_pod(name, owner, job["spec"]["template"]["spec"], output))
    try:
        _await_start(cluster, name)
        yield from _received(cluster, name, output)
    finally:
        cluster.delete("Pod", name)


def _pod(name: str, owner: dict[str, Any], spec: dict[str, Any], output: str) -> dict[str, Any]:
    (worker,) = spec["containers"]
    reader = {**worker, "command": ["python", "-m", "gristmill.worker.reading", output]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "ownerReferences": [
                {"apiVersion": API_VERSION, "kind": KIND, "name": owner["name"], "uid": owner["uid"]}
            ],
        },
        "spec": {**spec, "containers": [reader], "activeDeadlineSeconds": _WORK_SECONDS},
    }


def _await_start(cluster: Cluster, name: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        found = cluster.get("Pod", name)
        phase = ((found or {}).get("status") or {}).get("phase")
        if phase == "Running":
            return
        if phase in ("Failed", "Succeeded") or time.monotonic() > deadline:
            raise GristmillError(
                f"the pod {name}, which was to read the results, did not start ({phase}):\n{_log(cluster, name)}"
            )
        time.sleep(_PAUSE)


def _received(cluster: Cluster, name: str, output: str) -> Iterator[list[Any]]:
    rest = b""
    with closing(_connected(cluster, name)) as connection:
        while data := connection.recv(1 << 20):
            *lines, rest = (rest + data).split(b"\n")
            ended = bool(lines) and lines[-1] + b"\n" == END
            yield [orjson.loads(line) for line in (lines[:-1] if ended else lines)]
            if ended:
                return
    raise GristmillError(f"the results at {output} could not be read to their end:\n{_log(cluster, name)}")


def _log(cluster: Cluster, pod: str) -> str:
    """Return what the reader has printed, or why that can't be told: its node may be lost."""
    try:
        return cluster.log(pod, None)
    except ClusterError as error:
        return str(error)


def _connected(cluster: Cluster, name: str) -> Any:
    """Return a connection to the reader, which may take a moment to listen after its pod has started."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with suppress(OSError, NoForward):  # (it may have ended already: what it said is told below)
            connection = dial(cluster, name, cluster.namespace, PORT)
            connection.settimeout(_START_SECONDS)
            with suppress(OSError):
                if connection.recv(1, _PEEK):
                    return connection
            connection.close()
        found = cluster.get("Pod", name) or {}
        if time.monotonic() > deadline or (found.get("status") or {}).get("phase") != "Running":
            raise GristmillError(f"the pod {name} did not hand out the results:\n{_log(cluster, name)}")
        time.sleep(_PAUSE)
