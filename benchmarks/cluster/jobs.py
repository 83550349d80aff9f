"""The same work as a ChunkJob, and as a Job."""

from __future__ import annotations

from typing import Any

from benchmarks.cluster.kubectl import NAMESPACE

IDENTITY = "def process(x):\n    return x\n"
CLAIM: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data", "namespace": NAMESPACE},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def chunk_job(name: str, chunks: int, workers: int = 2, output: str = "", **spec: Any) -> dict[str, Any]:
    """Return a ChunkJob of so many chunks that do nothing; `output` is a path on the claim."""
    mount: dict[str, Any] = {
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return {
        "apiVersion": "gristmill.dev/v1alpha1",
        "kind": "ChunkJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "input": {"range": {"stop": chunks}},
            "chunks": {"size": 1},
            "process": {"source": IDENTITY},
            "workers": {"max": workers, **({"template": mount} if output else {})},
            **({"output": {"url": output}} if output else {}),
            **spec,
        },
    }


def plain_job(name: str, image: str, pods: int, parallelism: int, indexed: bool = False) -> dict[str, Any]:
    """Return a Job of so many pods that do nothing."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "completions": pods,
            "parallelism": parallelism,
            "completionMode": "Indexed" if indexed else "NonIndexed",
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "containers": [
                        {
                            "name": "main",
                            "image": image,
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["python", "-c", "pass"],
                        }
                    ],
                }
            },
        },
    }
