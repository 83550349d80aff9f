"""Celery: two prefork processes, Valkey as broker and result backend with the same durability as ours."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gather import gather_in_order
from benchmarks.server import valkey_server

#: results asked for at once
BATCH = 500


def map_range(items: int) -> dict[str, float]:
    """Send a task an item, then gather the results in order.

    Sending goes through an application without a result backend and one producer, and gathering by MGET: each
    `delay()` would otherwise subscribe to a channel of its own, which costs Celery a quarter of its speed.
    The clock starts when the workers have answered a first task.
    """
    with tempfile.TemporaryDirectory() as folder, valkey_server(Path(folder)) as socket:
        os.environ["BENCHMARK_QUEUE"] = f"redis+socket://{socket}"
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery_app", "worker"),
                *("-c", "2", "-P", "prefork", "-l", "ERROR"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            from benchmarks.peers.celery_app import identity

            for warm in [identity.delay(0) for _ in range(4)]:
                warm.get(timeout=60)
            started = time.perf_counter()
            measured = gather_in_order(_results(items), items, started)
            # the first result comes when all tasks are sent: only the whole is a rate
            return {"rate": measured["rate_with_start"]}
        finally:
            worker.terminate()
            worker.wait(30)


def _results(items: int) -> Iterator[int]:
    from celery import Celery

    from benchmarks.peers.celery_app import app

    sender = Celery("sender", broker=os.environ["BENCHMARK_QUEUE"], set_as_current=False)
    sender.conf.update(task_serializer="json", accept_content=["json"])
    with sender.producer_pool.acquire() as producer:
        ids = [sender.send_task("identity", (item,), producer=producer).id for item in range(items)]
    for start in range(0, items, BATCH):
        batch = ids[start : start + BATCH]
        found = dict(app.backend.get_many(batch, interval=0.01))
        for task in batch:
            yield found[task]["result"]
