"""`gristmill volume` on a cluster: by port-forwards to a SeaweedFS, with the key of the Secret, from outside."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.kube import PATIENCE, Kube, kubectl
from tests.volumes.builders import MIB, content

from gristmill.reconcilers.objects import CONTAINER_SECURITY, pod_security

IMAGE = "chrislusf/seaweedfs:4.48"
NAME = "sales"
KEYS = ("JWT_SIGNING", "JWT_SIGNING_READ", "JWT_FILER_SIGNING", "JWT_FILER_SIGNING_READ")


@pytest.fixture
def sales(kube: Kube) -> str:
    """Return the URL of a volume that is made as the operator does it, in its smallest form: pods, Services, Secret."""
    host = f"{NAME}-master-0.{NAME}-master.{kube.namespace}.svc:9333"
    key = secrets.token_hex(16)
    parts = {
        "master": (9333, 1, ["-mdir=/data", "-peers=none", "-defaultReplication=001", "-telemetry=false"]),
        "server": (8080, 2, ["-dir=/data", f"-master={host}", "-max=20", "-readMode=local"]),
        "filer": (8888, 1, [f"-master={host}", "-defaultStoreDir=/data", "-maxMB=4"]),
    }
    for part, (port, replicas, words) in parts.items():
        kube.apply(*_part(kube.namespace, key, part, port, replicas, words))
    url = f"http://{NAME}-volume.{kube.namespace}.svc:8888"
    told = {one: base64.b64encode(text.encode()).decode() for one, text in {"url": url, "key": key}.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{NAME}-volume"}, "data": told}
    kube.apply(secret)
    for part in parts:
        kube.ctl("rollout", "status", f"statefulset/{NAME}-{part}", f"--timeout={PATIENCE:.0f}s")
    return f"volume://{NAME}"


def _part(
    namespace: str, key: str, part: str, port: int, replicas: int, words: list[str]
) -> list[dict[str, Any]]:
    labels = {"gristmill.dev/filevolume": NAME, "gristmill.dev/part": part}
    address = [f"-ip=$(POD).{NAME}-{part}.{namespace}.svc", "-ip.bind=0.0.0.0"]
    health = "/cluster/healthz" if part == "master" else "/healthz"
    container = {
        "name": part,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["weed", {"server": "volume"}.get(part, part), *address, *words],
        "env": [
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            *({"name": f"WEED_{name}_KEY", "value": key} for name in KEYS),
        ],
        "volumeMounts": [{"name": one, "mountPath": f"/{one}"} for one in ("data", "tmp")],
        "securityContext": CONTAINER_SECURITY,
        "readinessProbe": {"httpGet": {"path": health, "port": port}, "periodSeconds": 1},
    }
    metadata = {"name": f"{NAME}-{part}"}
    pod = {
        "terminationGracePeriodSeconds": 0,
        "securityContext": pod_security(1000),
        "containers": [container],
        "volumes": [{"name": one, "emptyDir": {}} for one in ("data", "tmp")],
    }
    stateful_set = {
        "serviceName": f"{NAME}-{part}",
        "replicas": replicas,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    service = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": labels,
        "ports": [{"port": port}],
    }
    return [
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": stateful_set},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
    ]


def volume(*words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `gristmill volume`."""
    done = subprocess.run(
        [sys.executable, "-m", "gristmill", "volume", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE + 60,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == code, done
    return done


def test_files_from_outside_and_back(kube: Kube, sales: str, tmp_path: Path) -> None:
    where = ("-n", kube.namespace)
    files = {"small": b"1", "ä b/large": content(9 * MIB), "middle": content(100_000)}
    for name, data in files.items():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_bytes(data)
    done = volume("put", str(tmp_path / "source"), f"{sales}/in", *where)
    assert done.stdout == f"{sales}/in: 3 files, 9.5 MB\n"
    listed = [json.loads(line) for line in volume("ls", "-r", "--json", sales, *where).stdout.splitlines()]
    assert {one["url"]: one["bytes"] for one in listed} == {
        f"{sales}/in/{name}": len(data) for name, data in files.items()
    }
    volume("get", f"{sales}/in", str(tmp_path / "back"), *where)
    for name, data in files.items():
        assert (tmp_path / "back" / name).read_bytes() == data
    assert "all is as it was written" in volume("verify", sales, *where).stdout
    assert volume("rm", "-r", f"{sales}/in", *where).stdout == "3 files removed\n"
    assert "2 contents removed" in volume("gc", "--grace", "0", sales, *where).stdout


def test_what_is_not_there(kube: Kube, sales: str, tmp_path: Path) -> None:
    where = ("-n", kube.namespace)
    told = volume("ls", "volume://nix", *where, code=2).stderr
    assert f"there is no FileVolume nix in the namespace {kube.namespace}" in told
    kube.ctl("create", "serviceaccount", "nobody")
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    config["users"][0]["user"] = {"token": kube.ctl("create", "token", "nobody").strip()}
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    told = volume("ls", sales, *where, code=1, KUBECONFIG=str(tmp_path / "config")).stderr
    assert f"you lack a right in the namespace {kube.namespace}" in told
    kube.ctl("scale", f"statefulset/{NAME}-filer", "--replicas=0")
    kube.ctl("wait", "--for=delete", f"pod/{NAME}-filer-0", f"--timeout={PATIENCE:.0f}s")
    told = volume("ls", sales, *where, code=2).stderr
    assert f"the filer of FileVolume {NAME} is not ready: `kubectl describe" in told
