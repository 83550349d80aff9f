"""An interrupted `gristmill run`: never in the middle of a start, and with the right last words."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.builders import chunk_job

from gristmill.api.manifest import load_manifest
from gristmill.cli import running
from gristmill.local.state import State


class Stoppable:
    """A run that is in some state when it is stopped."""

    def __init__(self, state: str) -> None:
        self.status = {"state": state}

    def cancel(self, now: bool = False) -> None:
        pass


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("state", "code"), [("Stopped", 130), ("Complete", 0)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_of_a_start_is_acted_on_after_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    state: str,
    code: int,
    number: signal.Signals,
) -> None:
    started = []

    def start(*words: Any, **options: Any) -> Stoppable:
        os.kill(os.getpid(), number)
        started.append(words)
        return Stoppable(state)

    monkeypatch.setattr(running, "start", start)
    monkeypatch.setattr(running, "_summarize", lambda *words: None)
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(chunk_job()))
    assert running.run_job(path, 1, tmp_path, fresh=False, accept_code=False, as_json=False) == code
    assert started
    assert ("goes on from here" in capsys.readouterr().err) == (state == "Stopped")


def test_second_interruption_of_a_start_ends_it() -> None:
    running._Interrupts()
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("output", ["s3://bucket/out", "elsewhere/out"])
def test_where_the_results_are_is_told_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status = {
        "name": "job",
        "state": "Complete",
        "chunks": {"total": 1},
        "items": {"succeeded": 1, "failed": 0},
        "ratePerSecond": None,
        "startTime": "2026-01-01T00:00:00Z",
        "completionTime": "2026-01-01T00:00:01Z",
        "output": output if "://" in output else str(tmp_path / output),
    }
    running._summarize(status, load_manifest(chunk_job()), State(tmp_path / ".gristmill" / "job"))
    assert f"results: {output} " in capsys.readouterr().err
