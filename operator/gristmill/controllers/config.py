"""What the operator was told by its environment (docs/operator.md)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from gristmill.errors import UsageError
from gristmill.reconcilers.chunkjob import Settings
from gristmill.reconcilers.worker_job import Images

#: what all FileVolumes run where nothing is said
_SEAWEEDFS = "chrislusf/seaweedfs:4.48"


@dataclass(frozen=True)
class Config:
    """The operator's settings."""

    #: its own namespace, and its pod's name
    namespace: str
    identity: str
    #: namespaces that are watched; (): all
    watch: tuple[str, ...]
    #: key from which the passwords of jobs' users follow
    key: bytes
    valkey_image: str
    #: the Cache that is the queue
    queue_cache: str
    queue_capacity: str
    queue_size: str
    queue_class: str
    jobs: Settings
    seaweedfs_image: str = _SEAWEEDFS

    @classmethod
    def from_environment(cls) -> Config:
        """Read it; UsageError names what is missing."""
        get = os.environ.get

        def need(name: str) -> str:
            value = get(name)
            if not value:
                raise UsageError(f"the environment variable {name} is not set")
            return value

        return cls(
            namespace=need("GRISTMILL_NAMESPACE"),
            identity=need("GRISTMILL_POD"),
            watch=tuple(filter(None, (word.strip() for word in get("GRISTMILL_WATCH", "").split(",")))),
            key=need("GRISTMILL_KEY").encode(),
            valkey_image=need("GRISTMILL_VALKEY_IMAGE"),
            queue_cache=get("GRISTMILL_QUEUE_CACHE", "gristmill-queue"),
            queue_capacity=get("GRISTMILL_QUEUE_CAPACITY", "512Mi"),
            queue_size=get("GRISTMILL_QUEUE_SIZE", ""),
            queue_class=get("GRISTMILL_QUEUE_CLASS", ""),
            jobs=Settings(
                Images(need("GRISTMILL_WORKER_IMAGE"), get("GRISTMILL_WORKER_PULL_POLICY", "IfNotPresent")),
                int(get("GRISTMILL_DEFAULT_WORKERS", "4")),
                get("GRISTMILL_COORDINATION_ROLE", "gristmill-coordination"),
            ),
            seaweedfs_image=get("GRISTMILL_SEAWEEDFS_IMAGE", _SEAWEEDFS),
        )
