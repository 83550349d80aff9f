"""A ChunkJob of a cluster, as the commands see it: the resource says how far it is, the queue what happened."""

from __future__ import annotations

import base64
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.api.names import GROUP, KIND
from gristmill.client.status import ended, failure_of, status_of
from gristmill.errors import GristmillError, InputError, QueueError, UsageError
from gristmill.planning.progress import State
from gristmill.reconcilers.worker_job import belongs, secret_name
from gristmill.remote.cluster import Cluster, ClusterError
from gristmill.remote.pod_logs import PodLogs
from gristmill.remote.status import status_in

if TYPE_CHECKING:
    from gristmill.planning.plan import Plan
    from gristmill.protocol.client import Collected, Queue
    from gristmill.protocol.job import JobContext

#: results handed out at a time
_BATCH = 1000
#: bytes of results fetched at a time where the queue keeps them
_FETCH_BYTES = 1 << 20
#: seconds between two looks for results that are not there yet
_PAUSE = 0.5
#: times that the queue may not answer
_PATIENCE = 20
#: an annotation of a ChunkJob: when (unix seconds) its dead letters were opened again last
_REOPENED = f"{GROUP}/reopened"


class ClusterJob:
    """See `client.place.Place`."""

    has_files = False

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self._uid = self.resource()["metadata"]["uid"]

    def resource(self) -> dict[str, Any]:
        """Return the ChunkJob as it is now."""
        found = self._cluster.get(KIND, self._name)
        if found is None:
            raise UsageError(f"there is no ChunkJob {self._name} in the namespace {self._cluster.namespace}")
        return found

    @property
    def words(self) -> str:
        """See `client.place.Place`."""
        return self._name + self._cluster.options

    def is_live(self) -> bool:
        """See `client.place.Place`."""
        return not ended(self.status())

    def status(self) -> dict[str, Any]:
        """See `client.place.Place`."""
        return status_in(self.resource())

    def describe(self, told: dict[str, Any]) -> dict[str, Any]:
        """See `client.place.Place`."""
        fresh = status_of(told, [], "")
        numbers = {name: fresh[name] for name in ("state", "chunks", "items", "workers")}
        return {**self.status(), **numbers}

    @contextmanager
    def queue(self) -> Iterator[Queue]:
        """See `client.place.Place`."""
        from gristmill.protocol.client import Queue, connect
        from gristmill.remote.tunnel import connect_through

        url = self._queue_url()
        client = connect(url) if self._cluster.is_own else connect_through(self._cluster, url)
        queue = Queue(client, self._uid)
        tries = iter(range(_PATIENCE))

        def give_up() -> None:
            if next(tries, None) is None:
                raise QueueError(f"the queue of the job {self._name} does not answer")

        queue.on_wait = give_up
        try:
            if not queue.exists():
                raise UsageError(f"the queue holds nothing of the job {self._name} any more")
            yield queue
        finally:
            client.close()

    def printed(self) -> PodLogs:
        """See `client.place.Place`."""
        return PodLogs(self._cluster, self._uid)

    def results(self, *, take: bool) -> Iterator[list[Any]]:
        """See `client.place.Place`."""
        resource = self.resource()
        status = status_in(resource)
        # (a job that has begun goes on with the output that it had then)
        begun = status["startTime"] is not None
        output = status["output"] if begun else (resource["spec"].get("output") or {}).get("url")
        if output and take:
            raise UsageError(f"--take is for results that the queue keeps; those of this job are in {output}")
        if output:
            yield from self._read(output)
            return
        with self.queue() as queue:
            yield from self._taken(queue) if take else self._kept(queue)

    def read(self, plan: Plan, chunk: int) -> Sequence[Any]:
        """See `client.place.Place`."""
        from gristmill.sources import open_source

        try:
            return open_source(plan).read(chunk)
        except InputError as error:
            raise InputError(
                f"the input can't be read here: {error}\n"
                "a path in the manifest is one in the workers' pods; an input at a URL can be read from anywhere"
            ) from error

    @contextmanager
    def modules(self, context: JobContext) -> Iterator[str]:
        """See `client.place.Place`. They are in a ConfigMap; or the image has them, and the user here."""
        name = context.job.spec.process.modules
        if not name:
            yield str(Path.cwd())
            return
        found = self._cluster.get("ConfigMap", name)
        if found is None:
            raise UsageError(f"there is no ConfigMap {name} any more; it had the job's modules")
        with tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
            for file, text in (found.get("data") or {}).items():
                (Path(folder) / file).write_text(text, encoding="utf-8")
            for file, data in (found.get("binaryData") or {}).items():
                (Path(folder) / file).write_bytes(base64.b64decode(data))
            yield folder

    def suspend(self, on: bool) -> None:
        """See `client.place.Place`. The spec has the word: the operator tells the queue."""
        self._cluster.patch(KIND, self._name, {"spec": {"suspend": on}})

    @contextmanager
    def reopening(self) -> Iterator[None]:
        """See `client.place.Place`. The operator looks at what is touched, at others that have ended now and then."""
        yield
        body = {"metadata": {"annotations": {_REOPENED: str(int(time.time()))}}}
        try:
            self._cluster.patch(KIND, self._name, body)
        except ClusterError as error:
            if error.status != 403:  # (who may open the queue may not be allowed to change the ChunkJob)
                raise

    def how_to_go_on(self) -> str:
        """See `client.place.Place`."""
        return ""

    def _queue_url(self) -> str:
        name = secret_name(self._name)
        secret = self._cluster.get("Secret", name)
        if secret is None or not belongs(secret, self._uid):
            raise UsageError(f"the job {self._name} has not been started: there is no Secret {name} yet")
        return base64.b64decode(secret["data"]["url"]).decode()

    def _read(self, output: str) -> Iterator[list[Any]]:
        if ("://" in output and not output.startswith("file://")) or self._cluster.is_own:
            from gristmill.sinks import read_results

            results = read_results(output)
            while batch := list(islice(results, _BATCH)):
                yield batch
            return
        from gristmill.remote.reading import results_from_pods

        if self.status()["state"] != State.COMPLETE:
            raise GristmillError(self._not_complete(str(self.status()["state"]).lower()))
        yield from results_from_pods(self._cluster, self.resource()["metadata"], output)

    def _kept(self, queue: Queue) -> Iterator[list[Any]]:
        """Iterate over the results of a complete job, and leave them where they are."""
        taken = int(queue.status()["job"].get("cursor") or 0)
        if taken:
            raise GristmillError(
                f"the results of the job {self._name} below chunk {taken} were taken already (`--take`)"
            )
        cursor = 0
        while True:
            got = queue.peek(cursor, _FETCH_BYTES)
            if got.phase != "complete":
                raise GristmillError(self._not_complete(got.phase))
            if got.cursor == cursor:
                return
            cursor = got.cursor
            yield _decoded(got)

    def _taken(self, queue: Queue) -> Iterator[list[Any]]:
        """Iterate over the results as they are made; what was handed out is dropped in the queue."""
        cursor = int(queue.status()["job"].get("cursor") or 0)
        while True:
            got = queue.collect(cursor, _FETCH_BYTES)
            if got.cursor > cursor:
                cursor = got.cursor
                yield _decoded(got)
            elif got.phase == "complete" and cursor >= got.chunks:
                return
            elif got.phase not in ("planning", "running", "complete"):
                raise GristmillError(self._not_complete(got.phase))
            else:
                time.sleep(_PAUSE)

    def _not_complete(self, phase: str) -> str:
        status = self.status()
        if phase == "failed":
            reason, message = failure_of(status)
            return f"the job {self._name} failed{f' ({reason}): {message}' if reason else ''}"
        if status["state"] == State.COMPLETE or phase not in ("planning", "running"):
            return f"the job {self._name} is {phase}: it has no results now"
        return (
            f"the job {self._name} is not complete; "
            f"`gristmill results {self.words} --take` prints its results as they are made, once"
        )


def _decoded(got: Collected) -> list[Any]:
    from gristmill.sinks import decode

    return decode(b"".join(got.payloads))
