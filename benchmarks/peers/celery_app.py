"""The Celery application that its workers load: JSON, no events, no rate limits, a large prefetch."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks import functions

app = Celery("benchmark", broker=os.environ["BENCHMARK_QUEUE"], backend=os.environ["BENCHMARK_QUEUE"])
app.conf.update(
    accept_content=["json"],
    result_serializer="json",
    task_serializer="json",
    task_track_started=False,
    worker_disable_rate_limits=True,
    worker_prefetch_multiplier=64,
    worker_send_task_events=False,
)


@app.task(name="identity")
def identity(item: int) -> int:
    return functions.identity(item)
