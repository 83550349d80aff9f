"""Who holds a lock is told by a number that is written a moment after it was taken: nobody is taken for another."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill.local import leftovers, state
from gristmill.local.state import Lock, State


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """Where this is, the holder goes on."""
    return tmp_path / "go"


def _stop_before(deed: str, go: Path, path: Path) -> int:
    """Fork a process that takes a lock, and stops before `deed`; return its number when it holds the lock."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        do = getattr(os, deed)

        def late(*words: object) -> None:
            os.write(write, b"x")
            while not go.exists():
                time.sleep(0.001)
            do(*words)

        setattr(state.os, deed, late)
        Lock(path).take()
        time.sleep(600)
    os.read(read, 1)
    os.close(read)
    os.close(write)
    return pid


@pytest.fixture
def ends() -> Iterator[list[int]]:
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_who_has_not_yet_said_its_number_is_waited_for(
    tmp_path: Path, go: Path, ends: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends.append(_stop_before("pwrite", go, tmp_path / "x.lock"))
    monkeypatch.setattr(state.time, "sleep", lambda seconds: go.touch())
    assert Lock(tmp_path / "x.lock").holder() == ends[0]


def test_the_number_of_the_last_holder_is_not_taken_for_the_next(
    tmp_path: Path, go: Path, ends: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "keeper.lock"
    lock.write_text(str(os.getppid()))
    ends.append(_stop_before("ftruncate", go, lock))
    asked: list[int] = []

    def sleep(seconds: float) -> None:
        go.touch()
        while lock.read_text() != str(ends[0]):
            pass

    def kill(pid: int, number: int) -> None:
        asked.append(pid)
        raise InterruptedError

    monkeypatch.setattr(leftovers.time, "sleep", sleep)
    monkeypatch.setattr(leftovers.os, "kill", kill)
    with pytest.raises(InterruptedError):
        leftovers.take_over(State(tmp_path))
    monkeypatch.undo()
    assert asked == ends
