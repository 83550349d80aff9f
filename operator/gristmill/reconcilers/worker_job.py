"""The objects of a ChunkJob: the Job of its workers, and the Secret that lets them into the queue.

The shape of the Job is what makes it scale both ways and replace what dies (docs/decisions/0004): completions that
are never reached, pods that are never restarted in place, replaced as soon as they terminate.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from gristmill.api.chunkjob import MOST_PROCESSES, ChunkJob
from gristmill.api.names import GROUP, KIND
from gristmill.api.on_cluster import WORK
from gristmill.api.template import WorkerTemplate
from gristmill.reconcilers.accounts import account_name
from gristmill.reconcilers.job_volumes import mounts_of, volumes_of
from gristmill.reconcilers.objects import (
    CONTAINER_SECURITY,
    USER,
    is_owned,
    labels_of,
    metadata_of,
    pod_security,
)

#: more successes than there can be: a Job with completions goes on starting pods after the first success
_NEVER = 2_147_483_647
#: annotations of a Job: digests of what the spec says of the pods, or is read by a worker when it begins; of the
#: work; and how many processes a worker has
_PODS_DIGEST = f"{GROUP}/pods"
_WORK_DIGEST = f"{GROUP}/work"
_PROCESSES = f"{GROUP}/processes"
_FIELDS: dict[str, Any] = {
    _PODS_DIGEST: {
        "workers": {"image", "template", "processes", "lease_seconds"},
        "retry": {"attempts", "timeout_seconds", "final_exceptions"},
        "durability": True,
        "accept_code": True,
        "coordination": True,
    },
    _WORK_DIGEST: {"input", "chunks", "process", "reduce", "output"},
}
#: seconds of its grace period that a worker leaves to the end of its processes
_END_SECONDS = 3
#: seconds after which the pods of a node that does not answer are replaced
_NODE_SECONDS = 30
_KUEUE = "kueue.x-k8s.io/"
_KUEUE_QUEUE = f"{_KUEUE}queue-name"


@dataclass(frozen=True)
class Images:
    """What workers run where a job says nothing."""

    worker: str
    pull_policy: str = "IfNotPresent"


def job_name(name: str) -> str:
    """Return the name of a ChunkJob's Job, which has at most 63 letters."""
    if len(name) > 55:
        name = f"{name[:46]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{name}-workers"


def secret_name(name: str) -> str:
    """Return the name of a ChunkJob's Secret."""
    return f"{name}-queue"


def queue_secret(owner: dict[str, Any], url: str) -> dict[str, Any]:
    """Return the Secret with the queue's URL; `owner` is the ChunkJob's metadata."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata_of(KIND, owner, secret_name(owner["name"])),
        "type": "Opaque",
        "data": {"url": base64.b64encode(url.encode()).decode()},
    }


def worker_job(owner: dict[str, Any], job: ChunkJob, images: Images, parallelism: int) -> dict[str, Any]:
    """Return the Job of a ChunkJob's workers."""
    template = job.spec.workers.template
    metadata = metadata_of(KIND, owner, job_name(owner["name"]))
    passed_on = {key: value for key, value in (owner.get("labels") or {}).items() if key.startswith(_KUEUE)}
    metadata["labels"] = {**passed_on, **metadata["labels"]}
    metadata["annotations"] = {annotation: _digest(job, annotation) for annotation in _FIELDS}
    metadata["annotations"][_PROCESSES] = str(job.spec.workers.processes)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "parallelism": parallelism,
            "completions": _NEVER,
            "completionMode": "NonIndexed",
            "backoffLimit": _NEVER,
            "podReplacementPolicy": "TerminatingOrFailed",
            "template": {
                "metadata": {
                    "labels": {**template.labels, **labels_of(KIND, owner)},
                    "annotations": template.annotations,
                },
                "spec": _pod(owner, job, template, images),
            },
        },
    }


def parallelism_of(found: dict[str, Any]) -> int:
    """Return how many workers a Job asks for."""
    return int(found["spec"].get("parallelism") or 0)


def kueue_of(found: dict[str, Any]) -> str:
    """Return the LocalQueue of a ChunkJob or its Job, from which Kueue starts and stops the workers; "" without one."""
    return str((found["metadata"].get("labels") or {}).get(_KUEUE_QUEUE, ""))


def processes_of(found: dict[str, Any]) -> int:
    """Return how many processes each of its workers has."""
    told = str((found["metadata"].get("annotations") or {}).get(_PROCESSES, ""))
    return int(told) if told.isdecimal() and 0 < int(told) <= MOST_PROCESSES else 1


def coordinates(found: dict[str, Any], name: str) -> bool:
    """Whether the pods of a ChunkJob's Job have the account of workers that coordinate."""
    account: str | None = found["spec"]["template"]["spec"].get("serviceAccountName")
    return account == account_name(name)


def belongs(found: dict[str, Any] | None, uid: str) -> bool:
    """Whether a Job (or Secret) is there and is this ChunkJob's own."""
    return found is not None and is_owned(found, uid)


def is_current(found: dict[str, Any], job: ChunkJob) -> bool:
    """Whether a Job's pods are as the ChunkJob says; that another operator would make other ones does not count."""
    return all(_is_made_for(found, job, annotation) for annotation in _FIELDS)


def is_for(found: dict[str, Any], job: ChunkJob) -> bool:
    """Whether a Job was made for this work."""
    return _is_made_for(found, job, _WORK_DIGEST)


def _is_made_for(found: dict[str, Any], job: ChunkJob, annotation: str) -> bool:
    digest = (found["metadata"].get("annotations") or {}).get(annotation)
    return digest is None or digest == _digest(job, annotation)


def _digest(job: ChunkJob, annotation: str) -> str:
    # (without defaults: a version of the operator that knows more fields restarts nothing)
    said = job.spec.model_dump(mode="json", by_alias=True, include=_FIELDS[annotation], exclude_defaults=True)
    said = {name: value for name, value in said.items() if value}
    return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _pod(owner: dict[str, Any], job: ChunkJob, template: WorkerTemplate, images: Images) -> dict[str, Any]:
    spec = job.spec
    told = template.model_dump(by_alias=True, exclude_defaults=True)
    volumes, mounts = [*told.get("volumes", ())], [*told.get("volumeMounts", ())]
    volumes.append({"name": "gristmill-tmp", "emptyDir": {}})
    mounts.append({"name": "gristmill-tmp", "mountPath": "/tmp"})
    if spec.process.modules:
        volumes.append({"name": "gristmill-modules", "configMap": {"name": spec.process.modules}})
        mounts.append({"name": "gristmill-modules", "mountPath": WORK, "readOnly": True})
    named = spec.model_dump(by_alias=True, include={"input": {"lines", "files"}, "output": True})
    keys, places = mounts_of(volumes_of(named))
    volumes += keys
    mounts += places
    container = {
        "name": "worker",
        "image": spec.workers.image or images.worker,
        "imagePullPolicy": images.pull_policy,
        "command": ["python", "-m", "gristmill.worker"],
        "workingDir": WORK,
        "env": [*told.get("env", ()), *_environment(owner, job)],
        "resources": told.get("resources", {}),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    taken: dict[str, Any] = {
        name: told[name]
        for name in ("nodeSelector", "affinity", "priorityClassName", "runtimeClassName", "imagePullSecrets")
        if name in told
    }
    account = account_name(owner["name"]) if spec.coordination else told.get("serviceAccountName")
    return {
        **taken,
        **({"serviceAccountName": account} if account else {}),
        "automountServiceAccountToken": bool(account),
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": template.termination_grace_period_seconds,
        "securityContext": pod_security(USER),
        "tolerations": [*told.get("tolerations", ()), *_when_a_node_is_lost(told.get("tolerations", ()))],
        "containers": [container],
        "volumes": volumes,
    }


def _environment(owner: dict[str, Any], job: ChunkJob) -> list[dict[str, Any]]:
    spec = job.spec
    grace = spec.workers.template.termination_grace_period_seconds
    values = {
        "GRISTMILL_JOB": owner["uid"],
        "GRISTMILL_INSTALL": "1",
        "GRISTMILL_DRAIN_SECONDS": str(max(1, grace - _END_SECONDS)),
        "HOME": "/tmp",
        "USER": "gristmill",
    }
    if spec.durability == "always":
        values["GRISTMILL_DURABLE"] = "1"
    url = {"secretKeyRef": {"name": secret_name(owner["name"]), "key": "url"}}
    pod = {"fieldRef": {"fieldPath": "metadata.name"}}
    return [
        *({"name": name, "value": value} for name, value in values.items()),
        {"name": "GRISTMILL_QUEUE_URL", "valueFrom": url},
        {"name": "GRISTMILL_WORKER", "valueFrom": pod},
    ]


def _when_a_node_is_lost(given: Any) -> list[dict[str, Any]]:
    """Return tolerations with which the pods of a lost node are replaced soon: fencing makes that safe."""
    named = {toleration.get("key") for toleration in given}
    return [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _NODE_SECONDS}
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
        if key not in named
    ]
