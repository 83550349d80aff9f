"""What a state folder stands: a file that is no JSON, a home folder, two who look at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.builders import chunk_job
from tests.local.conftest import Here

from gristmill.api.manifest import load_manifest
from gristmill.local import hosts, runner
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
