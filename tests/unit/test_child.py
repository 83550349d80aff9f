"""A child whose code can't be loaded says so when it should run it, and does what needs none of it."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest
from tests.builders import chunk_job, numbers

from gristmill.api.chunkjob import ChunkJob
from gristmill.protocol.job import JobContext
from gristmill.sources import make_plan
from gristmill.worker.child import Child
from gristmill.worker.marker import Marker


class Wire:
    """A channel whose messages are known; keeps what is sent."""

    def __init__(self, *messages: list[Any]) -> None:
        self._messages = [*messages]
        self.sent: list[tuple[Any, ...]] = []

    def receive(self) -> list[Any] | None:
        return self._messages.pop(0) if self._messages else None

    def send(self, *message: Any) -> None:
        self.sent.append(message)

    def send_all(self, *messages: tuple[Any, ...]) -> None:
        self.sent += messages


@pytest.mark.parametrize("loads", [True, False])
@pytest.mark.parametrize("reduce", [{}, {"reduce": {"function": "nowhere:combine"}}])
@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (["chore", "n", "clean", [[], [], 0]], "chore_done"),
        (["chore", "n", "finish", [[], [], 0]], "job_failed"),
        (["lease", "n", 1, 0, 1], "job_failed"),
    ],
)
def test_what_was_written_is_cleaned_up_though_the_code_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loads: bool, reduce: Any, message: list[Any], answer: str
) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    monkeypatch.setattr(SourceFileLoader, "get_code", SourceFileLoader.get_code)  # (a child watches it)
    job = chunk_job(**numbers(4), process={"function": "nowhere:gone"}, **reduce)
    plan = make_plan(ChunkJob.model_validate(job).spec, str(tmp_path), "spec")
    wire: Any = Wire(["plan", plan.to_json()], message)
    Child(wire, Marker(), JobContext(job, str(tmp_path), f"{tmp_path}/out"), "w").serve(loads=loads)
    assert [sent[0] for sent in wire.sent] == ["ready", answer], wire.sent
    assert answer == "chore_done" or wire.sent[1][1] == "LoadFailed"
