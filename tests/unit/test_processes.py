"""What the system tells of processes, where it has /proc and where it has only `ps`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill.local import processes
from gristmill.local.processes import command_of, is_in_group, start_of


@pytest.fixture(params=["/proc", "ps"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "ps":
        monkeypatch.setattr(processes, "_PROC", Path("/nowhere"))
        monkeypatch.setenv("COLUMNS", "10")
    elif not Path("/proc/self").exists():
        pytest.skip("this system has no /proc")
    return str(request.param)


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, whose command line is long."""
    program = "import time; print('here', flush=True); time.sleep(600)"
    words = [sys.executable, "-c", program, "x" * 300, "needle"]
    process = subprocess.Popen(words, process_group=0, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.stdout.close()
    process.kill()
    process.wait()


def test_a_living_process(system: str, other: subprocess.Popen[bytes]) -> None:
    assert "needle" in command_of(other.pid)
    assert is_in_group(other.pid, "needle")
    assert not is_in_group(other.pid, "another")
    assert not is_in_group(os.getpgid(0), "needle")


def test_when_a_process_began_is_the_same_whoever_asks(system: str, other: subprocess.Popen[bytes]) -> None:
    if system == "ps":
        assert start_of(other.pid) == ""
        return
    asking = f"from gristmill.local.processes import start_of; print(start_of({other.pid}))"
    told = subprocess.run([sys.executable, "-c", asking], capture_output=True, text=True, check=True).stdout
    assert start_of(other.pid) == told.strip() != ""
    assert start_of(other.pid) != start_of(os.getpid())
    other.kill()
    other.wait()
    assert start_of(other.pid) == ""


def test_one_that_has_ended(system: str, other: subprocess.Popen[bytes]) -> None:
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert command_of(other.pid) == ""  # (a zombie)
    assert not is_in_group(other.pid, "needle")
    other.wait()
    assert command_of(other.pid) == ""


def test_where_proc_is_nothing_else_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("this system has no /proc")
    monkeypatch.setenv("PATH", "/nowhere")
    assert command_of(os.getpid())
    assert not is_in_group(os.getpid(), "no such words")
