"""A namespace of a real cluster, by kubectl: what people type is what is tested."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

#: seconds after which a condition that a test waits for will not come any more
PATIENCE = 90.0
#: where the operator is
SYSTEM = "gristmill-system"


def kubectl(*words: str, stdin: str | None = None, code: int | None = 0) -> str:
    """Run kubectl and return what it says; `code` is the exit code that is expected (None: any)."""
    done = subprocess.run(
        ["kubectl", *words], input=stdin, capture_output=True, text=True, timeout=PATIENCE + 30, check=False
    )
    if code is not None:
        assert done.returncode == code, (
            f"kubectl {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout + (done.stderr if done.returncode else "")


def until(condition: Callable[[], T], patience: float = PATIENCE, pause: float = 0.25) -> T:
    """Wait until a condition holds, and return its value."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not come within {patience:g} s"
        time.sleep(pause)
    return found


@dataclass(frozen=True)
class Kube:
    """One namespace."""

    namespace: str

    def ctl(self, *words: str, stdin: str | None = None, code: int | None = 0) -> str:
        """Run kubectl in the namespace."""
        return kubectl("-n", self.namespace, *words, stdin=stdin, code=code)

    def apply(self, *manifests: dict[str, Any], code: int = 0) -> str:
        """Apply objects."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        return self.ctl("apply", "--validate=strict", "-f", "-", stdin=text, code=code)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return an object, or None."""
        found = self.ctl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found.strip() else None

    def all(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        return list(json.loads(self.ctl("get", kind, "-o", "json", "-l", selector))["items"])

    def status(self, name: str) -> dict[str, Any]:
        """Return the status of a ChunkJob."""
        found = self.get("chunkjob", name)
        return (found or {}).get("status") or {}

    def condition(self, name: str, kind: str) -> dict[str, Any] | None:
        """Return a condition of a ChunkJob that is true, or None."""
        for condition in self.status(name).get("conditions", ()):
            if condition["type"] == kind and condition["status"] == "True":
                return dict(condition)
        return None

    def await_complete(self, name: str, patience: float = PATIENCE) -> dict[str, Any]:
        """Wait until a ChunkJob is complete, and return its status."""

        def ended() -> bool:
            failed = self.condition(name, "Failed")
            assert failed is None, failed
            return self.condition(name, "Complete") is not None

        until(ended, patience)
        return self.status(name)

    def uid(self, name: str) -> str:
        """Return the uid of a ChunkJob."""
        found = self.get("chunkjob", name)
        assert found is not None, f"there is no ChunkJob {name}"
        return str(found["metadata"]["uid"])


def chunk_job(name: str = "mill", **spec: Any) -> dict[str, Any]:
    """Return a ChunkJob that squares a hundred numbers; `spec` replaces parts of its spec."""
    return {
        "apiVersion": "gristmill.dev/v1alpha1",
        "kind": "ChunkJob",
        "metadata": {"name": name},
        "spec": {
            "input": {"range": {"stop": 100}},
            "process": {"source": "def process(x):\n    return x * x\n"},
            "workers": {"max": 2, "leaseSeconds": 3},
            **spec,
        },
    }


def claim(name: str) -> dict[str, Any]:
    """Return a PersistentVolumeClaim, a place that all pods of one node reach."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def mounted(name: str, at: str = "/data", **workers: Any) -> dict[str, Any]:
    """Return `spec.workers` with a claim mounted."""
    return {
        "max": 2,
        "leaseSeconds": 3,
        "template": {
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name}}],
            "volumeMounts": [{"name": "data", "mountPath": at}],
        },
        **workers,
    }


def queue(*words: str) -> str:
    """Ask the queue itself."""
    secret = json.loads(kubectl("-n", SYSTEM, "get", "secret", "gristmill-queue-auth", "-o", "json"))
    password = base64.b64decode(secret["data"]["password"]).decode()
    pod = "gristmill-queue-0"
    return kubectl("-n", SYSTEM, "exec", pod, "--", "valkey-cli", "--no-auth-warning", "-a", password, *words)


def shell(name: str, claim_name: str, *command: str) -> dict[str, Any]:
    """Return a pod that runs a command beside a claim's files, which are at /data."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    image = kubectl(
        "-n", SYSTEM, "get", "deploy", "gristmill", "-o", "jsonpath={.spec.template.spec.containers[0].image}"
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "shell",
                    "image": image,
                    "command": [*command],
                    "securityContext": security,
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
            ],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}],
        },
    }
