"""A worker as a pod starts it: `python -m gristmill.worker`, with its environment and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.builders import chunk_job
from tests.local.conftest import Until

from gristmill.api.manifest import load_manifest
from gristmill.local.server import Server
from gristmill.protocol.client import Queue, connect
from gristmill.protocol.job import JobContext


@pytest.fixture
def queue(tmp_path: Path, until: Until) -> Iterator[tuple[Queue, str]]:
    server = Server.start(tmp_path / "queue", False)
    try:
        until(Path(server.draft_url.removeprefix("unix://")).exists)
        server.publish()
        queue = Queue(connect(server.url), "mill")
        queue.load_library()
        manifest: dict[str, Any] = load_manifest(
            chunk_job(process={"source": "def process(x):\n    print('number', x)\n    return x\n"})
        ).model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"status"})
        queue.create(JobContext(manifest, str(tmp_path), "", "").fields(1))
        yield queue, server.url
    finally:
        server.kill()


def worker(url: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "GRISTMILL_QUEUE_URL": url,
        "GRISTMILL_JOB": "mill",
        "GRISTMILL_WORKER": "pod",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "gristmill.worker"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_does_the_job_prints_json_lines_and_ends(queue: tuple[Queue, str]) -> None:
    process = worker(queue[1])
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert queue[0].status()["job"]["phase"] == "complete"
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["text"] for line in lines if line["stream"] == "stdout"] == [
        f"number {x}" for x in range(10)
    ]
    assert {line["worker"].rpartition("-")[0] for line in lines} == {"pod"}


def test_one_that_comes_too_late_stays_until_it_is_stopped(queue: tuple[Queue, str]) -> None:
    queue[0].fail_job(1, "Test", "it is over")
    process = worker(queue[1])
    try:
        assert process.stderr is not None
        assert "waits to be stopped" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_it_says_what_its_environment_lacks() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRISTMILL_")}
    done = subprocess.run(
        [sys.executable, "-m", "gristmill.worker"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "GRISTMILL_QUEUE_URL and no GRISTMILL_JOB" in done.stderr
