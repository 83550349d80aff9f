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
from tests.builders import chunk_job, numbers, source, wheel
from tests.conftest import Until

from gristmill.api.manifest import load_manifest
from gristmill.local.server import Server
from gristmill.protocol.client import Queue, connect
from gristmill.protocol.job import JobContext


@pytest.fixture
def url(tmp_path: Path, until: Until) -> Iterator[str]:
    """The URL of a server that has the functions."""
    server = Server.start(tmp_path / "queue", False)
    try:
        until(Path(server.draft_url.removeprefix("unix://")).exists)
        server.publish()
        Queue(connect(server.url), "mill").load_library()
        yield server.url
    finally:
        server.kill()


def create(url: str, base: Path, *, output: str = "", **spec: Any) -> Queue:
    """Make the job that workers of these tests work for."""
    manifest: dict[str, Any] = load_manifest(chunk_job(**spec)).model_dump(
        mode="json", by_alias=True, exclude_defaults=True, exclude={"status"}
    )
    queue = Queue(connect(url), "mill")
    queue.create(JobContext(manifest, str(base), output).fields(1))
    return queue


@pytest.fixture
def queue(url: str, tmp_path: Path) -> Queue:
    return create(url, tmp_path, **source("def process(x):\n    print('number', x)\n    return x\n"))


def worker(url: str, **environment: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "GRISTMILL_QUEUE_URL": url,
        "GRISTMILL_JOB": "mill",
        "GRISTMILL_WORKER": "pod",
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "gristmill.worker"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_does_the_job_prints_json_lines_and_ends(queue: Queue, url: str) -> None:
    process = worker(url)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert queue.status()["job"]["phase"] == "complete"
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["text"] for line in lines if line["stream"] == "stdout"] == [
        f"number {x}" for x in range(10)
    ]
    assert {line["worker"].rpartition("-")[0] for line in lines} == {"pod"}


def test_one_that_comes_too_late_stays_until_it_is_stopped(queue: Queue, url: str) -> None:
    queue.fail_job(1, "Test", "it is over")
    process = worker(url)
    try:
        assert process.stderr is not None
        assert "waits to be stopped" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("durable", ["", "1"])
def test_one_that_comes_before_its_job_waits_for_it(
    url: str, tmp_path: Path, until: Until, durable: str
) -> None:
    """As after the queue has lost its memory: the operator makes the job again."""
    process = worker(url, GRISTMILL_DURABLE=durable)
    try:
        with connect(url) as client:
            until(lambda: client.info("errorstats").get("errorstat_NOJOB", {}).get("count", 0) > 1)
        assert process.poll() is None
        queue = create(url, tmp_path, **source("def process(x):\n    return x\n"))
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert queue.status()["job"]["phase"] == "complete"
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


def test_it_installs_what_the_job_requires(url: str, tmp_path: Path) -> None:
    text = "import tiny_for_tests\n\ndef process(x):\n    return tiny_for_tests.__file__\n"
    queue = create(url, tmp_path, **source(text, pip=[wheel(tmp_path, "tiny_for_tests")]))
    process = worker(url, GRISTMILL_INSTALL="1", HOME=str(tmp_path))
    process.communicate(timeout=60)
    assert queue.status()["job"]["phase"] == "complete"
    assert str(tmp_path / ".gristmill").encode() in b"".join(queue.peek(0, 1 << 20).payloads)


#: a job of which something is staged while a chunk runs for long; once there is a file `gone`, it can't be loaded
STAGING = """
import os, time
if os.path.exists({gone!r}):
    open({gone!r} + '.loading', 'w').close()
    {deed}

def process(x):
    time.sleep(600 if x == 1 else 0)
"""


class Staging:
    """A job that has something staged, and the worker that runs it."""

    def __init__(self, url: str, folder: Path, until: Until, deed: str = "pass") -> None:
        text = STAGING.format(gone=str(folder / "gone"), deed=deed)
        self.url = url
        self.gone = folder / "gone"
        self.parts = folder / "out" / "_gristmill" / "parts"
        spec = {**numbers(64), **source(text), "workers": {"leaseSeconds": 1}}
        self.queue = create(url, folder, output=str(folder / "out"), **spec)
        self.worker = self.start()
        until(lambda: list(self.parts.glob("*/*")))

    def start(self) -> subprocess.Popen[str]:
        return worker(self.url, GRISTMILL_PIECE_SECONDS="0")

    def is_removed(self) -> bool:
        return bool(self.queue.status()["job"]["phase"] == "removed")


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_job_that_is_removed_is_cleaned_up_though_a_chunk_runs_for_long(
    url: str, tmp_path: Path, until: Until
) -> None:
    job = Staging(url, tmp_path, until)
    try:
        assert job.queue.cancel() == "removing"
        until(job.is_removed)
        assert not job.parts.exists()
    finally:
        end(job.worker)


def test_a_worker_that_is_told_to_leave_while_it_starts_leaves(
    url: str, tmp_path: Path, until: Until
) -> None:
    """Were it the first process of a container, a signal that it neither handles nor blocks would be lost."""
    queue = create(url, tmp_path, **numbers(4), **source("def process(x):\n    return x\n"))
    process = worker(url)
    status = Path(f"/proc/{process.pid}/status")

    def blocked() -> bool:
        lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        return bool(int(lines["SigBlk"], 16) >> (signal.SIGTERM - 1) & 1)

    until(blocked)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert queue.status()["workers"] == {}


def test_a_worker_that_is_told_to_leave_while_its_queue_is_away_leaves(tmp_path: Path, until: Until) -> None:
    process = worker(f"unix://{tmp_path / 'none'}")
    wchan = Path(f"/proc/{process.pid}/status")
    until(lambda: "SigBlk:\t0000000000004000" in wchan.read_text())
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize("knows", [True, False])
def test_a_worker_that_is_to_leave_cleans_up_a_job_that_is_removed(
    url: str, tmp_path: Path, until: Until, knows: bool
) -> None:
    """Where a ChunkJob is deleted in the foreground, its pods are ended at the same time, and no others come."""
    job = Staging(url, tmp_path, until)
    try:
        if knows:
            job.queue.cancel()
            job.worker.terminate()
        else:
            os.kill(job.worker.pid, signal.SIGSTOP)
            job.queue.cancel()
            job.worker.terminate()
            os.kill(job.worker.pid, signal.SIGCONT)
        job.worker.communicate(timeout=30)
        assert job.is_removed()
        assert not job.parts.exists()
    finally:
        end(job.worker)


@pytest.mark.parametrize(
    ("deed", "is_loading"), [("os._exit(3)", False), ("time.sleep(600)", False), ("time.sleep(600)", True)]
)
def test_a_job_that_is_removed_is_cleaned_up_though_its_code_kills_or_holds_up_who_loads_it(
    url: str, tmp_path: Path, until: Until, deed: str, is_loading: bool
) -> None:
    job = Staging(url, tmp_path, until, deed)
    end(job.worker)
    job.gone.touch()
    if not is_loading:
        job.queue.cancel()
    process = job.start()
    try:
        if is_loading:
            until((tmp_path / "gone.loading").exists)
            job.queue.cancel()
        until(job.is_removed)
        assert not job.parts.exists()
    finally:
        end(process)


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("raise OSError('no way to the database')", "no way to the database"),
        ("os._exit(3)", "exited with code 3"),
    ],
)
def test_a_worker_that_cannot_load_what_others_have_loaded_fails_and_the_job_goes_on(
    url: str, tmp_path: Path, until: Until, deed: str, said: str
) -> None:
    """What is in the way there may pass; whoever starts workers in pods starts another, later and later."""
    job = Staging(url, tmp_path, until, deed)
    try:
        job.gone.touch()
        process = job.start()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert said in err.splitlines()[-1]
        told = job.queue.status()
        assert told["job"]["phase"] == "running"
        assert len(told["workers"]) == 1
    finally:
        end(job.worker)


def test_a_worker_whose_packages_are_not_to_be_had_any_more_fails_and_the_job_goes_on(
    url: str, tmp_path: Path, until: Until
) -> None:
    package = wheel(tmp_path, "tiny_for_tests")
    text = "import time, tiny_for_tests\n\ndef process(x):\n    time.sleep(600)\n"
    queue = create(url, tmp_path, **source(text, pip=[package]))
    first = worker(url, GRISTMILL_INSTALL="1", HOME=str(tmp_path))
    try:
        until(lambda: queue.status()["job"]["phase"] == "running")
        (tmp_path / "tiny_for_tests-1.0-py3-none-any.whl").unlink()
        second = worker(url, GRISTMILL_INSTALL="1", HOME=str(tmp_path / "other"))
        _, err = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "error: spec.process.pip: pip failed" in err
        told = queue.status()
        assert told["job"]["phase"] == "running"
        assert len(told["workers"]) == 1
    finally:
        end(first)
