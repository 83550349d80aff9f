"""What the user's code printed, as the pods' logs have it: as much as the cluster keeps of them."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import orjson

from gristmill.reconcilers.objects import UID
from gristmill.remote.cluster import Cluster, ClusterError


class PodLogs:
    """Reads what was added to the logs of a job's pods since it was last asked."""

    pause = 1.0

    def __init__(self, cluster: Cluster, uid: str) -> None:
        self._cluster = cluster
        self._selector = f"{UID}={uid}"
        #: the time of the last line that was read, by pod
        self._last: dict[str, str] = {}
        #: pods whose node does not answer, which was said
        self._silent: set[str] = set()

    def records(self) -> list[dict[str, Any]]:
        """See `client.place.PrintedLines`."""
        found = []
        for pod in self._cluster.list("Pod", labelSelector=self._selector):
            name = pod["metadata"]["name"]
            try:
                found += self._added(name)
            except ClusterError as error:
                if error.status < 500:
                    raise
                if name not in self._silent:  # (its node does not answer: others are read all the same)
                    self._silent.add(name)
                    found.append(_record(time.time(), str(error), name))
        return sorted(found, key=lambda record: record["time"])

    def _added(self, pod: str) -> list[dict[str, Any]]:
        found = []
        last = self._last.get(pod)
        # (the cluster looks for whole seconds only)
        for line in self._cluster.log(pod, last).split("\n"):
            stamp, _, text = line.partition(" ")
            if _is_time(stamp) and (last is None or stamp > last):
                found.append(record_of(stamp, text, pod))
                self._last[pod] = stamp
        self._silent.discard(pod)
        return found


def record_of(stamp: str, text: str, pod: str) -> dict[str, Any]:
    """Return a line of a pod's log as a record; what is none of the user's code is put down to chunk -1."""
    try:
        record = orjson.loads(text)
        if isinstance(record, dict) and {"time", "chunk", "text"} <= record.keys():
            return record
    except orjson.JSONDecodeError:
        pass
    return _record(datetime.fromisoformat(stamp).timestamp(), text, pod)


def _record(at: float, text: str, pod: str) -> dict[str, Any]:
    return {"time": at, "chunk": -1, "stream": "worker", "text": text, "worker": pod}


def _is_time(stamp: str) -> bool:
    """Whether a line begins with its time; the cluster's own words do not."""
    try:
        return datetime.fromisoformat(stamp).tzinfo is not None
    except ValueError:
        return False
