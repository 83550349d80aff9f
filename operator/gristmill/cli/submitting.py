"""`gristmill submit`: hand a manifest to the cluster's operator, and show the job until it ends if that is wanted."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from gristmill.api.manifest import load_manifest
from gristmill.api.names import KIND
from gristmill.api.on_cluster import check_on_cluster
from gristmill.cli.display import choose_display
from gristmill.cli.places import Where
from gristmill.cli.text import count, outcome, print_json
from gristmill.errors import GristmillError, UsageError
from gristmill.remote.cluster import Cluster
from gristmill.remote.status import has_ended, status_in

_INTERRUPTED = 130
#: seconds between two looks at the job
_PAUSE = 0.5


def submit(file: Path, where: Where, *, wait: bool, as_json: bool) -> int:
    """Make the ChunkJob of a manifest, or change the one of its name; return the exit code."""
    job = load_manifest(file)
    check_on_cluster(job)
    own = job.metadata.namespace
    if own and where.namespace and own != where.namespace:
        raise UsageError(f"metadata.namespace is {own}, -n says {where.namespace}: give one of them")
    cluster = Where(None, where.namespace or own, where.context).cluster()
    name = job.metadata.name
    known = cluster.get(KIND, name) is not None
    resource = cluster.apply(
        job.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"status"})
    )
    if not as_json:
        print(name, flush=True)
    done = "changed" if known else "made"
    _say(f"{done} in the namespace {cluster.namespace}; `gristmill get {name}{cluster.options}` shows it")
    if not wait:
        if as_json:
            print_json(status_in(resource))
        return 0
    try:
        resource = _follow(cluster, resource)
    except KeyboardInterrupt:
        _say(f"\nnot waiting any more; the job goes on, `gristmill get {name}{cluster.options}` shows it")
        return _INTERRUPTED
    status = status_in(resource)
    if as_json:
        print_json(status)
    _say(outcome(status, is_reduction=job.spec.reduce is not None))
    _tell_what_next(status, f"{name}{cluster.options}")
    return 1 if status["state"] == "Failed" else 0


def _follow(cluster: Cluster, resource: dict[str, Any]) -> dict[str, Any]:
    """Show a job until it ends, and return it."""
    name = resource["metadata"]["name"]
    with choose_display() as display:
        while not has_ended(resource):
            display.show(status_in(resource))
            time.sleep(_PAUSE)
            found = cluster.get(KIND, name)
            if found is None or found["metadata"]["uid"] != resource["metadata"]["uid"]:
                raise GristmillError(f"the job {name} was deleted")
            resource = found
    return resource


def _tell_what_next(status: dict[str, Any], words: str) -> None:
    if status["state"] != "Failed":
        where = f"{status['output']} " if status["output"] else ""
        _say(f"results: {where}(`gristmill results {words}`)")
    if lost := status["items"]["failed"]:
        _say(f"{count(lost, 'item')} failed: `gristmill failures {words}` shows why,")
        _say(f"`gristmill retry {words}` opens them again")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
