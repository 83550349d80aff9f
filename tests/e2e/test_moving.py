"""A job that moves: begun here and ended on the cluster, and the other way round, at an output that both reach."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.kube import Kube, chunk_job, until

#: with s3fs, which does not go together with the operator's requirements
_PYTHON = Path(__file__).parents[2] / ".venv-s3/bin/python"
pytestmark = pytest.mark.timeout(240)

SLOW = "import time\n\ndef process(x):\n    time.sleep(0.03)\n    return x * 0.1\n"
_STORE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "store", "labels": {"app": "store"}},
    "spec": {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "weed",
                "image": "chrislusf/seaweedfs:4.48",
                "imagePullPolicy": "IfNotPresent",
                "args": ["mini", "-dir=/data", "-s3.port=8333"],
                "env": [
                    {"name": "AWS_ACCESS_KEY_ID", "value": "key"},
                    {"name": "AWS_SECRET_ACCESS_KEY", "value": "secret"},
                    {"name": "S3_BUCKET", "value": "mill"},
                ],
                "readinessProbe": {"tcpSocket": {"port": 8333}, "periodSeconds": 1},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data", "emptyDir": {}}],
    },
}
_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "store"},
    "spec": {"selector": {"app": "store"}, "ports": [{"port": 8333}]},
}


@pytest.fixture
def here(kube: Kube) -> Iterator[dict[str, str]]:
    """Give the environment with which a process here reaches the store in the cluster."""
    if not _PYTHON.exists():
        assert not os.environ.get("CI"), "make .venv-s3/made"
        pytest.skip("there is no .venv-s3: make .venv-s3/made")
    kube.apply(_STORE, _SERVICE)
    kube.ctl("wait", "pod/store", "--for=condition=Ready", "--timeout=60s")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["kubectl", "-n", kube.namespace, "port-forward", "pod/store", f"{port}:8333"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sys.stderr, text=True) as forward:
        assert forward.stdout is not None
        assert "Forwarding" in forward.stdout.readline()
        yield {**os.environ, **_credentials(f"http://127.0.0.1:{port}")}
        forward.kill()


def _credentials(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _job(url: str) -> dict[str, Any]:
    environment = _credentials("http://store:8333").items()
    template = {"env": [{"name": name, "value": value} for name, value in environment]}
    return chunk_job(
        input={"range": {"stop": 1600}},
        chunks={"size": 2},
        process={"source": SLOW},
        output={"url": url},
        workers={"max": 2, "leaseSeconds": 5, "template": template},
    )


def _run(folder: Path, here: dict[str, str], manifest: dict[str, Any], *words: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "job.yaml").write_text(json.dumps(manifest))
    command = [str(_PYTHON), "-m", "gristmill", "run", "job.yaml", "--workers", "2", "--json", *words]
    return subprocess.Popen(
        command, cwd=folder, env=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _complete(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    return dict(json.loads(out.splitlines()[-1]))


def _parts(here: dict[str, str], url: str) -> int:
    code = f"import fsspec; print(len(fsspec.filesystem('s3').find({url!r} + '/_gristmill/parts')))"
    done = subprocess.run([str(_PYTHON), "-c", code], env=here, capture_output=True, text=True, check=True)
    return int(done.stdout)


def _calm(tmp_path: Path, here: dict[str, str]) -> str:
    done = _complete(_run(tmp_path / "calm", here, _job(str(tmp_path / "calm-output"))))
    return str(done["outputDigest"])


def test_begun_here_and_ended_on_the_cluster(kube: Kube, here: dict[str, str], tmp_path: Path) -> None:
    job = _job("s3://mill/there")
    process = _run(tmp_path / "begun", here, job)
    until(lambda: _parts(here, "s3://mill/there") > 0)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    kube.apply(job)
    status = kube.await_complete("mill")
    assert status["items"]["succeeded"] == 1600
    assert status["outputDigest"] == _calm(tmp_path, here)


def test_begun_on_the_cluster_and_ended_here(kube: Kube, here: dict[str, str], tmp_path: Path) -> None:
    job = _job("s3://mill/back")
    kube.apply(job)
    until(lambda: (kube.status("mill").get("chunks") or {}).get("succeeded", 0) > 50)
    kube.ctl("patch", "chj", "mill", "--type=merge", "-p", '{"spec": {"suspend": true}}')
    until(lambda: not [p for p in kube.all("pods", "gristmill.dev/uid") if p["status"]["phase"] == "Running"])
    status = _complete(_run(tmp_path / "ended", here, job))
    assert status["items"]["succeeded"] == 1600
    assert status["outputDigest"] == _calm(tmp_path, here)
