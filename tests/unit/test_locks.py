"""Who holds a lock is told by a number that is written a moment after it was taken: nobody is taken for another."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill.errors import UsageError
from gristmill.local import leftovers, state
from gristmill.local.hosts import EndedHost
from gristmill.local.processes import start_of
from gristmill.local.state import Lock, State
from gristmill.protocol.job import JobContext


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
        while lock.read_text().split()[:1] != [str(ends[0])]:
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


@pytest.mark.parametrize("told", ["", "no number"])
def test_who_does_not_say_its_number_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    path = tmp_path / "x.lock"
    path.write_text(told)
    monkeypatch.setattr(state, "_SAYS_SECONDS", 0.1)
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for ask in (Lock(path).holder, Lock(path).take):
            with pytest.raises(
                UsageError, match=r"x\.lock is held by a process that .* does not say its number"
            ):
                ask()
    assert Lock(path).holder() == 0


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_the_failures_of_a_run_that_can_not_be_written_are_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """(As for whoever is not root: root may write everywhere.)"""
    (tmp_path / "reader.lock").touch()
    opens = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise OSError(number, os.strerror(number), str(path))
        return opens(path, flags, mode)

    monkeypatch.setattr(state.os, "open", refuse)
    sentence = rf"reader\.lock can't be written: {os.strerror(number)}; .* copy the folder"
    with pytest.raises(UsageError, match=sentence):
        EndedHost(State(tmp_path), JobContext({"metadata": {"name": "job"}}, "", "")).letters()


def test_a_lock_on_a_full_disk_is_told_with_its_path_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(state.os, "pwrite", refuse)
    sentence = (
        rf"reader\.lock can't be written: {os.strerror(errno.ENOSPC)}; .* mend that, or copy the folder"
    )
    with pytest.raises(UsageError, match=sentence):
        EndedHost(State(tmp_path), JobContext({"metadata": {"name": "job"}}, "", "", "")).letters()
    assert State(tmp_path).reader_lock.holder() == 0


def test_a_keeper_that_can_not_take_its_lock_tells_so(tmp_path: Path) -> None:
    code = (
        "import os; from gristmill.local import keeper\n"
        "def refuse(*_): raise OSError(28, os.strerror(28))\n"
        "os.pwrite = refuse; keeper.main()"
    )
    given = json.dumps([str(tmp_path), 0, False]) + "\n"
    done = subprocess.run(
        [sys.executable, "-c", code], input=given, capture_output=True, text=True, check=False
    )
    told = json.loads(done.stdout)
    assert told["event"] == "failed"
    assert "keeper.lock can't be written: No space left on device" in told["message"]


@pytest.fixture
def keeper() -> Iterator[subprocess.Popen[bytes]]:
    """What could be a keeper that was left alone."""
    words = [sys.executable, "-c", "import time; time.sleep(600)", "gristmill.local.keeper"]
    process = subprocess.Popen(words, process_group=0)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("told", ["{pid}", "{pid} {start}"])
def test_what_is_left_of_a_keeper_is_killed(
    tmp_path: Path, keeper: subprocess.Popen[bytes], told: str
) -> None:
    (tmp_path / "keeper.lock").write_text(told.format(pid=keeper.pid, start=start_of(keeper.pid)))
    leftovers.take_over(State(tmp_path))
    assert keeper.wait(60) == -9


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="where there is no /proc, start times are not known"
)
def test_another_runs_keeper_that_has_the_number_now_is_not_killed(
    tmp_path: Path, keeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "keeper.lock"
    lock.write_text(f"{keeper.pid} 1")
    killed: list[int] = []
    killpg = os.killpg
    monkeypatch.setattr(
        leftovers.os, "killpg", lambda group, number: killed.append(group) if number else killpg(group, 0)
    )
    leftovers.take_over(State(tmp_path))
    assert killed == []
    assert lock.read_text() == f"{os.getpid()} {start_of(os.getpid())}"
