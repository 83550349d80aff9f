"""A process that was stopped is found; one that runs, goes on or has ended is none."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess

import pytest

from gristmill.worker.frozen import FrozenFor, is_frozen


@pytest.fixture
def process() -> Iterator[BaseProcess]:
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    yield process
    process.kill()
    process.join()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_stopped_and_woken(process: BaseProcess) -> None:
    assert not is_frozen(process)
    assert process.pid
    os.kill(process.pid, signal.SIGSTOP)
    until(lambda: is_frozen(process))
    measured = FrozenFor()
    assert measured.look(process) == 0
    until(lambda: measured.look(process) > 0.01)
    os.kill(process.pid, signal.SIGCONT)
    until(lambda: not is_frozen(process))
    assert measured.look(process) == 0
    assert process.is_alive()


def test_dead_but_not_yet_waited_for(process: BaseProcess) -> None:
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    # as if it ended between the look at its exit code and the system's answer
    process._popen.poll = lambda flag=0: None  # type: ignore[attr-defined]
    assert not is_frozen(process)
    del process._popen.poll  # type: ignore[attr-defined]
