"""Health and metrics over HTTP: /healthz, /readyz and /metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from gristmill.controllers.cluster import Cluster
from gristmill.controllers.operating import Operator
from gristmill.planning.progress import State

PORT = 8080


class Board:
    """What is shown of this process."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        #: the operator, while this process leads
        self.operator: Operator | None = None
        #: says what is wrong with this process, or nothing
        self.fault: Callable[[], str] = str

    def collect(self) -> Iterator[Metric]:
        """Give the metrics (called by the Prometheus client)."""
        yield GaugeMetricFamily(
            "gristmill_leading", "Whether this replica leads.", float(self.operator is not None)
        )
        writes = CounterMetricFamily(
            "gristmill_api_writes", "Writes to the API server.", labels=["verb", "kind"]
        )
        for (verb, kind), count in self._cluster.writes.items():
            writes.add_metric([verb, kind], count)
        yield writes
        if self.operator is None:
            return
        jobs = GaugeMetricFamily("gristmill_jobs", "ChunkJobs by state.", labels=["state"])
        states = [found.get("status", {}).get("state") for found in self.operator.world.all("ChunkJob")]
        for state in State:
            jobs.add_metric([str(state)], states.count(str(state)))
        yield jobs
        yield GaugeMetricFamily(
            "gristmill_queue_answers", "Whether the queue answers.", float(self.operator.queue.answers)
        )
        yield GaugeMetricFamily(
            "gristmill_waiting_reconciliations",
            "ChunkJobs that wait for a look.",
            len(self.operator.job_queue),
        )

    def describe(self) -> Iterator[Metric]:
        """Nothing is known in advance."""
        return iter(())


async def serve(board: Board) -> web.AppRunner:
    """Answer on all addresses, in the background; return what ends that (`cleanup`)."""
    registry = CollectorRegistry()
    registry.register(board)
    ProcessCollector(registry=registry)

    async def health(_: web.Request) -> web.Response:
        fault = board.fault()
        return web.Response(text=fault or "ok", status=500 if fault else 200)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes(
        [web.get("/healthz", health), web.get("/readyz", health), web.get("/metrics", metrics)]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, None, PORT).start()
    return runner
