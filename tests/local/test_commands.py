"""The commands that look at a run and steer it, while it goes on and when it has stopped."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.builders import chunk_job, numbers, source
from tests.conftest import Until
from tests.local.conftest import Here

PICKY = "def process(x):\n    print('saw', x)\n    if x == 13:\n        raise ValueError('unlucky')\n    return x * x\n"


@pytest.fixture
def failed(here: Here) -> Here:
    """A complete job of four chunks of which item 3 of chunk 1 is a dead letter."""
    picky = {**numbers(40, 10), **source(PICKY), "retry": {"attempts": 2, "backoffSeconds": 0}}
    here.write(chunk_job("picky", **picky, failures={"tolerated": 1}))
    here.run("run", "job.yaml")
    return here


@pytest.fixture
def waiting(here: Here) -> Here:
    """A job whose chunks wait for a file called `go`."""
    text = (
        "import os, time\n\ndef process(x):\n"
        "    while not os.path.exists('go'):\n        time.sleep(0.01)\n    return x\n"
    )
    here.write(chunk_job("waiting", **numbers(20), **source(text)))
    return here


def test_get(failed: Here) -> None:
    status = json.loads(failed.run("get", "--json").stdout)
    assert status["state"] == "Complete"
    assert status["chunks"] == {"total": 4, "running": 0, "succeeded": 3, "failed": 1, "retried": 1}
    assert status["items"] == {"total": 40, "succeeded": 39, "failed": 1}
    assert len(status["outputDigest"]) == 64
    told = failed.run("get", "picky").stdout
    assert told.startswith("picky: Complete\n")
    assert "4/4, 0 running, 1 failed" in told


def test_logs(failed: Here) -> None:
    lines = failed.run("logs").stdout.splitlines()
    assert {int(line.rpartition(" ")[2]) for line in lines} == set(range(40))
    of_chunk = failed.run("logs", "picky", "--chunk", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["text"] for line in of_chunk] == [f"saw {x}" for x in range(20, 30)]


def test_why_tells_leases_and_failures(failed: Here) -> None:
    told = failed.run("why", "1").stdout
    assert told.startswith("chunk 1: 10 to 19\n")
    for words in ("leased", "failed, kind error, item 3", "given up", "ValueError: unlucky"):
        assert words in told
    facts = json.loads(failed.run("why", "1", "--json").stdout)
    assert facts["deadLetters"][0]["item"] == 3
    assert "there is no chunk 4" in failed.run("why", "4", code=2).stderr


def test_repro_finds_a_module_whose_name_one_of_the_debuggers_has(here: Here) -> None:
    (here.folder / "code.py").write_text("def f(x):\n    return x + 1\n")
    here.write(chunk_job(**numbers(2), process={"function": "code:f"}))
    here.run("run", "job.yaml")
    # (with `python -m`, what is here comes first anyway)
    script = Path(sys.executable).with_name("gristmill")
    done = subprocess.run(
        [script, "repro", "1"], cwd=here.folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


def test_repro_runs_the_failed_item_here(failed: Here) -> None:
    done = failed.run("repro", "1", code=1)
    assert "chunk 1 item 3: 13" in done.stderr
    assert 'File "<process.source>", line 4, in process' in done.stderr
    assert "ValueError: unlucky" in done.stderr
    assert failed.run("repro", "1", "--item", "4").stdout == "saw 14\n196\n"
    whole = failed.run("repro", "0").stdout.splitlines()
    assert [line for line in whole if not line.startswith("saw")] == [str(x * x) for x in range(10)]
    assert "has 10 items" in failed.run("repro", "1", "--item", "10", code=2).stderr


def test_repro_opens_the_debugger(failed: Here) -> None:
    done = failed.run("repro", "1", "--pdb", code=1, input="p x * 1000\nq\n")
    assert "13000" in done.stdout


def test_failures(failed: Here) -> None:
    letter = json.loads(failed.run("failures", "--json").stdout)
    assert (letter["chunk"], letter["item"], letter["input"], letter["attempts"]) == (1, 3, "13", 2)


def test_retry_names(failed: Here) -> None:
    assert "no dead letter of 0" in failed.run("retry", "0", code=2).stderr
    assert json.loads(failed.run("retry", "1:3", "--json").stdout) == {"opened": 1, "job": True}
    assert json.loads(failed.run("get", "--json").stdout)["state"] == "Stopped"
    assert failed.status()["items"]["failed"] == 1


def test_suspend_and_resume_a_run_that_goes_on(waiting: Here, until: Until) -> None:
    process = waiting.start("run", "job.yaml", "--json")
    until(lambda: _live(waiting, "chunks", "running"))
    waiting.run("suspend")
    assert _live(waiting, "state") == "Suspended"
    (waiting.folder / "go").touch()
    until(lambda: _live(waiting, "chunks", "running") == 0)
    done = _live(waiting, "chunks", "succeeded")
    assert 0 < done < 20
    waiting.run("resume")
    out, _ = process.communicate(timeout=60)
    assert json.loads(out)["state"] == "Complete"
    assert waiting.results() == list(range(20))


def test_suspended_when_stopped(waiting: Here, until: Until) -> None:
    process = waiting.start("run", "job.yaml", env={**os.environ, "GRISTMILL_DRAIN_SECONDS": "0.2"})
    until(lambda: _live(waiting, "chunks", "running"))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert "gristmill run" in waiting.run("resume").stdout
    (waiting.folder / "go").touch()
    assert waiting.status()["state"] == "Complete"


@pytest.mark.parametrize("by_manifest", [False, True])
def test_a_stopped_run_is_resumed_by_command_or_by_manifest(
    here: Here, until: Until, by_manifest: bool
) -> None:
    here.write(chunk_job(suspend=True))
    process = here.start("run", "job.yaml")
    until(lambda: _live(here, "state") == "Suspended")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    if by_manifest:
        here.write(chunk_job())
    else:
        here.run("resume")
    assert here.status()["state"] == "Complete"


def test_top(waiting: Here, until: Until) -> None:
    waiting.start("run", "job.yaml", "--workers", "2")
    until(lambda: _live(waiting, "chunks", "running"))
    facts = json.loads(waiting.run("top", "--json").stdout)
    assert len(facts["workerList"]) == 2
    assert {"host", "pid", "slots"} <= set(facts["workerList"][0])


def test_results_of_a_run_that_is_not_complete(waiting: Here, until: Until) -> None:
    waiting.start("run", "job.yaml")
    until(lambda: _live(waiting, "chunks", "running"))
    assert "has no complete job" in waiting.run("results", code=1).stderr


def test_which_run(here: Here) -> None:
    assert "there is none" in here.run("get", code=2).stderr
    for name in ("one", "two"):
        here.write(chunk_job(name))
        here.run("run", "job.yaml")
    assert "name one of one, two" in here.run("get", code=2).stderr
    assert here.run("get", "one").stdout.startswith("one: ")
    assert here.run("get", "--state", "two").stdout.startswith("two: ")


def test_closed_pipe_is_no_error(here: Here) -> None:
    here.write(chunk_job(**numbers(200_000, 1000)))
    here.run("run", "job.yaml")
    words = f"'{sys.executable}' -m gristmill results | head -n 2"
    done = subprocess.run(words, shell=True, cwd=here.folder, capture_output=True, text=True, check=False)
    assert done.stdout == "0\n1\n"
    assert done.stderr == ""


def test_progress_on_a_terminal_is_one_line_that_goes_away(here: Here) -> None:
    text = "import time\n\ndef process(x):\n    time.sleep(0.02)\n    return x\n"
    here.write(chunk_job("bar", **numbers(50), **source(text)))
    shown = _in_terminal(here, "run", "job.yaml", columns=60)
    assert "/50" in shown
    assert "bar: complete, 50 results of 50 chunks" in shown
    frames = shown.split("\r")
    assert all(len(_plain(frame).rstrip("\n")) <= 60 for frame in frames if "━" in frame)
    assert "\x1b[3" not in _in_terminal(here, "run", "job.yaml", "--fresh", columns=60, NO_COLOR="1")


def test_plain_lines_elsewhere(waiting: Here) -> None:
    process = waiting.start("run", "job.yaml")
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("waiting: ")
    assert "\x1b" not in line


def _live(here: Here, *path: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "gristmill", "get", "--json"],
        cwd=here.folder,
        capture_output=True,
        check=False,
    )
    value = json.loads(done.stdout) if done.returncode == 0 else {"chunks": {}, "state": ""}
    for step in path:
        value = value.get(step)
    return value


def _in_terminal(here: Here, *words: str, columns: int, **environment: str) -> str:
    """Run a command on a pseudo terminal and return all that it wrote."""
    lead, follow = pty.openpty()
    settings = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color", **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "gristmill", *words],
        cwd=here.folder,
        stdin=follow,
        stdout=follow,
        stderr=follow,
        env=settings,
    )
    os.close(follow)
    shown = b""
    while data := _read(lead):
        shown += data
    os.close(lead)
    assert process.wait(60) == 0
    return shown.decode()


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 1 << 16)
    except OSError:  # the other end is closed
        return b""


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_descriptors_may_be_closed(here: Here, closed: str) -> None:
    here.write(chunk_job(**numbers(2000)))
    command = f"{shlex.quote(sys.executable)} -m gristmill"
    for words in ("run job.yaml", "get", "results"):
        done = subprocess.run(
            f"{command} {words} {closed}", shell=True, cwd=here.folder, timeout=60, check=False
        )
        assert done.returncode == 0
    assert here.results() == list(range(2000))
