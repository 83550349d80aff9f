"""A supervisor that is told to go: what runs is stopped whether the queue answers or not."""

from __future__ import annotations

import os
import socket
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from tests.builders import chunk_job, numbers, source

from gristmill.api.chunkjob import ChunkJob
from gristmill.planning.values import Lease
from gristmill.protocol.client import Pulse, Reply
from gristmill.protocol.job import JobContext
from gristmill.protocol.steps import Done, Step
from gristmill.sources import make_plan
from gristmill.worker.capture import Log
from gristmill.worker.channel import Channel
from gristmill.worker.leaving import Leave
from gristmill.worker.marker import Marker
from gristmill.worker.slot import Slot
from gristmill.worker.supervisor import Supervisor

CHUNKS = 100_000
#: seconds after which a child will not stop any more
PATIENCE = 10.0


class Scene:
    """A queue with one lease of all chunks, and a supervisor that must go as soon as some of them are done."""

    def __init__(self, folder: Path) -> None:
        job = chunk_job(
            **numbers(CHUNKS), **source("import time\n\ndef process(x):\n    time.sleep(0.001)\n")
        )
        self._spec = JobContext(job, str(folder), "").to_json()
        self._plan = make_plan(ChunkJob.model_validate(job).spec, str(folder), "spec").to_json()
        self._leases = [Lease("n", 1, 0, CHUNKS)]
        self.reader, self._writer = os.pipe()
        self._goes = False
        self.steps: list[Step] = []
        me: Any = self
        self._supervisor = Supervisor(me, "w", Log(BytesIO()), me, {})

    def run(self) -> None:
        try:
            self._supervisor.run()
        finally:
            os.close(self.reader)
            os.close(self._writer)

    # -- what is asked of `Leaving`

    def check(self) -> None:
        if self._supervisor._slots[0].marker.chunk > 0:
            self._goes = True
            raise Leave

    # -- what is asked of `Queue`

    def hello(self, worker: str, info: Any) -> dict[str, Any]:
        return {"epoch": 1, "phase": "running", "spec": self._spec}

    def claim_code(self, epoch: int, code: dict[str, str], *, accept: bool) -> str:
        return ""

    def plan(self) -> bytes:
        return self._plan

    def report(self, worker: str, epoch: int, steps: list[Step], want: int | None, most: int = 1) -> Reply:
        self.steps += steps
        leases, self._leases = self._leases, []
        return Reply("running", [True] * len(steps), leases, None)

    def heartbeat(self, *_: Any) -> Pulse:
        until = time.monotonic() + PATIENCE
        while self._goes and self._supervisor._slots[0].marker.chunk >= 0:  # (it answers late)
            assert time.monotonic() < until, "what runs was not stopped"
            time.sleep(0.001)
        return Pulse("running", 1, [], [])

    def bye(self, worker: str, *, lost: bool) -> None:
        pass


def test_what_runs_is_stopped_before_the_queue_is_asked_and_committed_after(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with pytest.raises(Leave):
        scene.run()
    (done,) = [step for step in scene.steps if isinstance(step, Done)]
    assert 0 < done.upto < CHUNKS


def test_a_child_goes_on_only_with_code_that_the_queue_was_told(tmp_path: Path) -> None:
    """Also where the worker is to leave while it tells it: what the child has waits for that, and is not reported."""
    scene = Scene(tmp_path)
    told: list[dict[str, str]] = []

    def claim_code(epoch: int, code: dict[str, str], *, accept: bool) -> str:
        told.append(code)
        if len(told) == 1:
            raise Leave
        return ""

    scene.claim_code = claim_code  # type: ignore[method-assign]
    supervisor, slot = scene._supervisor, Slot(JobContext.from_json(scene._spec), "w")
    supervisor._epoch, supervisor._context = 1, JobContext.from_json(scene._spec)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        slot.channel = Channel(ours)
        supervisor._hear(slot, ["code", {"late": "digest"}])
        with pytest.raises(Leave):
            supervisor._check_code(slot)
        supervisor._check_code(slot)
        assert told == [{"late": "digest"}] * 2
        assert list(Channel(theirs).drain()) == [["code_taken"]]


def test_a_wait_that_is_not_the_chunks_fault_is_not_its_time() -> None:
    marker = Marker()
    marker.at(7, exact=True)
    marker.has_items(3)
    marker.at_item(1)
    with marker.paused():
        assert marker.running_seconds == 0.0
        waited_until = time.monotonic()
    assert (marker.chunk, marker.exact, marker.items, marker.item) == (7, True, 3, 1)
    assert marker.running_seconds <= time.monotonic() - waited_until
