"""Which job or volume a command is about: the one of a folder here, or of a cluster."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.errors import UsageError
from gristmill.local.state import HOME, find
from gristmill.volumes.names import check_volume

if TYPE_CHECKING:
    from gristmill.client.place import Place
    from gristmill.remote.cluster import Cluster
    from gristmill.volumes.store import ContentStore

#: whether kubectl has started the program, as `kubectl gristmill`
IS_PLUGIN = Path(sys.argv[0]).stem == "kubectl-gristmill"
#: no job has a chunk whose number has more
_MOST_DIGITS = 18


@dataclass(frozen=True)
class Where:
    """What was said of where a job is."""

    state: Path | None = None
    namespace: str | None = None
    context: str | None = None

    @property
    def is_cluster(self) -> bool:
        """Whether a cluster is meant, and nothing here."""
        said = bool(self.namespace or self.context)
        if said and self.state:
            raise UsageError("--state is a folder here, -n and --context are of a cluster: give one of them")
        return said or (IS_PLUGIN and not self.state)

    def cluster(self) -> Cluster:
        """Return the cluster. NoCluster when there is none."""
        from gristmill.remote.cluster import connect

        return connect(self.context, self.namespace)


@dataclass(frozen=True)
class VolumeWhere:
    """What was said of where volumes are."""

    namespace: str | None = None
    context: str | None = None
    #: whether the current kube context is meant
    cluster: bool = False

    def open(self, name: str) -> ContentStore:
        """Return the files of a volume: of a cluster where one was said, else where this process has volumes."""
        if not (self.namespace or self.context or self.cluster or IS_PLUGIN):
            from gristmill.volumes import open_volume

            return open_volume(name)
        from gristmill.remote.cluster import connect
        from gristmill.remote.volume import open_volume as open_remote

        return open_remote(connect(self.context, self.namespace), check_volume(name))


def choose(name: str | None, where: Where) -> Place:
    """Return the job that is meant: of a state folder here if there is such a one, else of the cluster."""
    if not where.is_cluster and (where.state or name is None or (HOME / name / "job.json").exists()):
        from gristmill.local.place import LocalJob

        return LocalJob(find(name, where.state))
    if name is None:
        raise UsageError("which job? name one; `gristmill get` with the same options lists them")
    from gristmill.remote.cluster import NoCluster
    from gristmill.remote.place import ClusterJob

    nothing_here = "" if where.is_cluster else f"there is no run {name} in {HOME}/ here, and "
    try:
        return ClusterJob(where.cluster(), name)
    except NoCluster as error:
        raise UsageError(f"{nothing_here}{'no cluster to ask: ' if nothing_here else ''}{error}") from error
    except UsageError as error:
        raise UsageError(f"{nothing_here}{error}") from error


def listed(where: Where) -> Cluster | None:
    """Return the cluster whose jobs are meant where none is named; None where it is the one run here."""
    if where.is_cluster:
        return where.cluster()
    if where.state or any(HOME.glob("*/job.json")):
        return None
    from gristmill.remote.cluster import NoCluster

    try:
        return where.cluster()
    except NoCluster:
        return None


def name_and_chunk(words: list[str]) -> tuple[str | None, int]:
    """Return what `[NAME] CHUNK` says."""
    *names, chunk = words
    if len(names) > 1 or not chunk.isdecimal() or len(chunk) > _MOST_DIGITS:
        raise UsageError(f"write [NAME] CHUNK, where CHUNK is a number, instead of {' '.join(words)}")
    return names[0] if names else None, int(chunk)
