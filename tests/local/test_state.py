"""What a state folder stands: a file that is no JSON, a home folder, two who look at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from tests.builders import chunk_job
from tests.local.conftest import Here, Until

from gristmill.api.manifest import load_manifest
from gristmill.local import hosts, runner
from gristmill.local.place import LocalJob
from gristmill.local.state import Lock, State


def test_a_job_file_that_cant_be_read_does_not_stop_a_fresh_start(here: Here) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml")
    (here.folder / ".gristmill/job/job.json").write_text("{")
    assert "can't be read" in here.run("run", "job.yaml", code=2).stderr
    here.run("run", "job.yaml", "--fresh")
    assert here.results() == list(range(10))


def test_an_output_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    manifest = load_manifest(chunk_job(output={"url": "~/out"}))
    assert runner._context(manifest, tmp_path, "", False).output == "/home/somebody/out"


def test_who_looks_at_a_stopped_run_goes_on_when_another_who_does_has_ended(
    here: Here, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml")
    folder = here.folder / ".gristmill" / "job"
    entered, left = Event(), Event()
    refusals: list[int] = []
    take = Lock.take
    monkeypatch.setattr(Lock, "take", lambda lock: (refusals.append(take(lock)), refusals[-1])[1])

    def look() -> str:
        with hosts.open_queue(State(folder)) as queue:
            entered.set()
            assert left.wait(60)
            return str(queue.status()["job"]["phase"])

    with ThreadPoolExecutor() as pool:
        with hosts.open_queue(State(folder)):
            assert not LocalJob(State(folder)).is_live()
            refusals.clear()
            other = pool.submit(look)
            until(lambda: entered.is_set() or sum(map(bool, refusals)) >= 3)
        left.set()
        assert other.result(60) == "complete"


def test_who_looks_at_a_stopped_run_waits_for_another_who_does(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml")
    folder = here.folder / ".gristmill" / "job"
    other = State(folder).runner_lock
    assert not other.take()
    holder = Lock.holder
    monkeypatch.setattr(Lock, "holder", lambda lock: (other.release(), holder(lock))[1])
    with hosts.open_queue(State(folder)) as queue:
        assert queue.status()["job"]["phase"] == "complete"
