"""Workers are copies of the keeper, but obey signals from their first moment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.util import register_after_fork
from pathlib import Path
from typing import Any

import pytest
from tests.builders import chunk_job

from gristmill.local import crew
from gristmill.local.state import State, StoredJob
from gristmill.protocol.job import JobContext


class Forked:
    """Something that is told when it is in the copy."""


@pytest.fixture
def _handler() -> Iterator[None]:
    former = signal.signal(signal.SIGTERM, lambda number, frame: None)
    yield
    signal.signal(signal.SIGTERM, former)


@pytest.mark.usefixtures("_handler")
def test_a_worker_that_is_told_to_stop_as_soon_as_it_is_forked_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "supervise", lambda *words, **options: True)
    job = StoredJob.of(JobContext(chunk_job(), str(tmp_path), ""))
    queue: Any = None
    workers = crew.Crew(State(tmp_path), job, queue, 1)
    forked = Forked()
    register_after_fork(forked, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    (place,) = workers._places
    workers._start(place, time.monotonic())
    assert place.process is not None
    place.process.join(30)
    assert place.process.exitcode == -signal.SIGTERM
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_what_workers_of_a_former_run_held_is_given_back_as_lost(tmp_path: Path) -> None:
    class Told:
        def __init__(self) -> None:
            self.gone: list[tuple[str, bool]] = []

        def status(self) -> dict[str, Any]:
            return {"workers": {"local-1": "{}", "local-2": "{}"}}

        def bye(self, worker: str, *, lost: bool) -> int:
            self.gone.append((worker, lost))
            return 1

    queue: Any = Told()
    crew.Crew(
        State(tmp_path), StoredJob.of(JobContext(chunk_job(), str(tmp_path), "")), queue, 1
    ).forget_former()
    assert queue.gone == [("local-1", True), ("local-2", True)]
