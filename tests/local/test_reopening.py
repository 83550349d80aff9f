"""`gristmill retry` at odd moments of a run: what it says it opened is done in the end."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders import chunk_job, numbers, source
from tests.conftest import Until
from tests.local.conftest import Here

import gristmill
from gristmill.local.place import LocalJob
from gristmill.local.state import State

#: the cause is put right by the file `well`
TEXT = (
    "import os\n\ndef process(x):\n"
    "    if x == 3 and not os.path.exists('well'):\n        raise ValueError(x)\n    return x\n"
)
JOB: dict[str, Any] = chunk_job(
    **numbers(10), **source(TEXT), retry={"attempts": 1}, failures={"tolerated": 1}
)


@pytest.fixture(autouse=True)
def _inside(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here.folder)


def test_while_the_run_notes_that_it_has_ended(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    save = State.save_status

    def save_late(state: State, status: dict[str, Any] | None) -> None:
        if status is not None and status["completionTime"]:
            (here.folder / "well").touch()
            assert "1 dead letter opened" in here.run("retry", "--state", "s").stdout
        save(state, status)

    with monkeypatch.context() as patched, gristmill.run(JOB, workers=1, state="s") as run:
        patched.setattr(State, "save_status", save_late)
        assert run.wait()["items"]["failed"] == 1
    with gristmill.run(JOB, workers=1, state="s") as run:
        assert run.wait()["items"] == {"total": 10, "succeeded": 10, "failed": 0}
        assert list(run.results()) == list(range(10))


def test_just_after_the_run_has_looked_whether_somebody_did(here: Here) -> None:
    with gristmill.run(JOB, workers=1, state="s") as run:
        run.wait()
    state = State(here.folder / "s")
    final = state.final_status()
    assert final is not None
    with LocalJob(state).reopening():
        assert state.final_status() is None
        state.save_status(final)
    assert state.final_status() is None


def test_while_nobody_asks_a_run_that_has_ended(here: Here, until: Until) -> None:
    with gristmill.run(JOB, workers=2, state="s") as run:
        until(lambda: run._host.queue().status()["job"]["phase"] == "complete")
        until(lambda: not run._host.queue().status()["workers"])
        (here.folder / "well").touch()
        here.run("retry", "--state", "s")
        assert run.wait(timeout=60)["items"] == {"total": 10, "succeeded": 10, "failed": 0}
        assert list(run.results()) == list(range(10))
