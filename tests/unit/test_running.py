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

from gristmill.cli import running


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
