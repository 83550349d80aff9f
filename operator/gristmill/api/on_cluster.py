"""What a ChunkJob must say to run on a cluster: there the workers share no machine, and their disks go with them."""

from __future__ import annotations

import posixpath
from pathlib import PurePosixPath
from urllib.parse import unquote

from gristmill.api.chunkjob import ChunkJob
from gristmill.api.template import WorkerTemplate
from gristmill.errors import ManifestError

#: where relative paths start in a worker's pod, and where `process.modules` is
WORK = "/work"


def check_on_cluster(job: ChunkJob) -> None:
    """Refuse, as `load_manifest` does, what works where all workers share a folder only."""
    spec = job.spec
    if spec.output is None:
        if spec.reduce:
            raise ManifestError(
                ["spec.output.url: is needed on a cluster with a reduce: a place that all workers reach"]
            )
        return
    path = _path_of(spec.output.url)
    if path is not None and not _is_kept(path, spec.workers.template):
        raise ManifestError(
            [
                f"spec.output.url: {path} goes with the pods on a cluster: mount a PersistentVolumeClaim there "
                "(volumes and volumeMounts of spec.workers.template), or write to volume://, s3:// and the like"
            ]
        )


def in_pod(url: str) -> str:
    """Return a URL or path as a worker's pod understands it wherever it runs."""
    return url if "://" in url else posixpath.join(WORK, url)


def _path_of(url: str) -> PurePosixPath | None:
    """Return the path that a URL of an output means in a pod; None where it is none."""
    if url.startswith("file://"):
        url = unquote(url.removeprefix("file://"))
    return None if "://" in url else _normal(in_pod(url))


def _normal(path: str) -> PurePosixPath:
    return PurePosixPath(posixpath.normpath("/" + path.lstrip("/")))  # (two slashes at the start would stay)


def _is_kept(path: PurePosixPath, template: WorkerTemplate) -> bool:
    """Whether what is written to a path of a worker's pod goes to a PersistentVolumeClaim."""
    claims = {volume.name for volume in template.volumes if volume.persistent_volume_claim}
    mounts = {_normal(mount.mount_path): mount.name for mount in template.volume_mounts}
    nearest = next((mounts[folder] for folder in (path, *path.parents) if folder in mounts), None)
    return nearest in claims
