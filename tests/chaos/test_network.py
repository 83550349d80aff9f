"""Between workers and server stands a proxy that delays, cuts and swallows. No keeper: as in a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.chaos import jobs
from tests.chaos.rig import Rig

from gristmill.api.manifest import load_manifest
from gristmill.client.status import ended, status_of
from gristmill.local.server import Server, socket_path
from gristmill.protocol.client import Queue, connect
from gristmill.protocol.job import JobContext

Calm = Callable[[str], dict[str, Any]]

_ROOT = Path(__file__).parents[2]
#: a worker as a cluster starts it: URL of the queue, name, durability
_WORK = """
import sys
from gristmill.worker.capture import Log
from gristmill.worker.service import supervise
log = Log(open("/dev/null", "wb"))
supervise(sys.argv[1], "mill", sys.argv[2], log, durable=sys.argv[3] == "always")
"""


@pytest.mark.chaos
@pytest.mark.parametrize("durability", ["everysec", "always"])
@pytest.mark.parametrize("kind", ["lines", "reduce", "files"])
def test_delays_cuts_and_lost_replies(rig: Rig, calm: Calm, kind: str, durability: str) -> None:
    through_the_proxy(rig, calm, kind, durability)


def test_sample_of_a_bad_network(rig: Rig, calm: Calm) -> None:
    through_the_proxy(rig, calm, "lines", "everysec")


def through_the_proxy(rig: Rig, calm: Calm, kind: str, durability: str) -> None:
    expected = calm(kind)
    context = context_of(rig, jobs.job(kind, durability=durability))
    with server(rig, durability) as path, proxy(rig, path) as listen:
        queue = Queue(connect(f"unix://{path}"), "mill")
        queue.load_library()
        queue.create(context.fields(1))
        with (
            start(rig, _WORK, f"unix://{listen}", "w1", durability) as one,
            start(rig, _WORK, f"unix://{listen}", "w2", durability) as two,
        ):
            status = rig.until(lambda: final_status(queue, context) or one.poll() or two.poll())
            assert (one.wait(30), two.wait(30)) == (0, 0)
    rig.check(kind, status, expected)


def context_of(rig: Rig, manifest: dict[str, Any]) -> JobContext:
    dumped = load_manifest(manifest).model_dump(
        mode="json", by_alias=True, exclude_defaults=True, exclude={"status"}
    )
    return JobContext(dumped, str(rig.folder), str(rig.output))


def final_status(queue: Queue, context: JobContext) -> dict[str, Any] | None:
    status = status_of(queue.status(), [], context.output)
    return status if ended(status) else None


@contextmanager
def server(rig: Rig, durability: str) -> Iterator[Path]:
    started = Server.start(rig.folder / "queue", durability == "always")
    try:
        rig.until(Path(started.draft_url.removeprefix("unix://")).exists)
        started.publish()
        yield socket_path(rig.folder / "queue")
    finally:
        started.kill()


@contextmanager
def proxy(rig: Rig, path: Path) -> Iterator[Path]:
    listen = rig.folder / "proxy.sock"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.proxy", str(listen), str(path), str(rig.seed)], cwd=_ROOT
    )
    try:
        rig.until(listen.exists)
        yield listen
    finally:
        process.kill()
        process.wait()


def start(rig: Rig, text: str, *words: str) -> subprocess.Popen[bytes]:
    name, _, value = rig.mark.partition("=")
    environment = {**os.environ, name: value, **rig.haste(), "GRISTMILL_ANSWER_SECONDS": "0.5"}
    return subprocess.Popen([sys.executable, "-c", text, *words], cwd=rig.folder, env=environment)
