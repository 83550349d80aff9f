"""`gristmill.run` as a script, a thread and a notebook use it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from itertools import islice
from typing import Any

import pytest
from tests.builders import chunk_job, numbers, source
from tests.conftest import Until
from tests.local.conftest import Here

import gristmill
from gristmill.api.manifest import load_manifest
from gristmill.client.run import JobFailed
from gristmill.errors import GristmillError, ManifestError, UsageError
from gristmill.local.state import State


@pytest.fixture(autouse=True)
def _inside(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here.folder)


def test_results_of_a_dict_come_in_order_and_leave_nothing_behind(here: Here) -> None:
    run = gristmill.run(chunk_job(**numbers(1000)), workers=2)
    assert list(run.results()) == list(range(1000))
    assert run.status["state"] == "Complete"
    assert run.status["items"]["succeeded"] == 1000
    assert list(here.folder.iterdir()) == []


def test_results_come_while_the_job_runs(here: Here) -> None:
    text = (
        "import os, time\n\ndef process(x):\n"
        "    while x == 9 and not os.path.exists('go'):\n        time.sleep(0.01)\n    return x\n"
    )
    with gristmill.run(chunk_job(**numbers(10), **source(text)), workers=2) as run:
        results = run.results()
        first = [next(results) for _ in range(5)]
        (here.folder / "go").touch()
        assert [*first, *results] == list(range(10))


def test_results_go_on_where_they_were_left_and_are_handed_out_once(here: Here) -> None:
    run = gristmill.run(chunk_job(**numbers(20)), 1)
    assert list(islice(run.results(), 5)) == list(range(5))
    assert list(run.results()) == list(range(5, 20))
    with pytest.raises(GristmillError, match="were handed out already"):
        run.results()


@pytest.mark.parametrize("cancels", [False, True])
def test_a_fork_of_the_users_process_neither_holds_the_run_nor_ends_it(
    here: Here, until: Until, cancels: bool
) -> None:
    text = "import time\n\ndef process(x):\n    time.sleep(0.05)\n    return x\n"
    job = chunk_job(**numbers(1000), **source(text))
    run = gristmill.run(job, 1, state="s")
    until(lambda: run.status["state"] == "Running")
    keeper = (here.folder / "s" / "keeper.lock").read_text()
    pid = os.fork()
    if not pid:
        try:
            if cancels:
                run.cancel(now=True)
            (here.folder / "forked").touch()
            signal.pause()
        finally:
            os._exit(1)
    try:
        until((here.folder / "forked").exists)
        run.wait(timeout=0.2)
        assert (here.folder / "s" / "keeper.lock").read_text() == keeper
        run.cancel()
        gristmill.run(job, 1, state="s").cancel()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("output", [{}, {"output": {"url": "out"}}])
def test_results_of_a_stopped_run(here: Here, output: dict[str, Any]) -> None:
    text = "import time\n\ndef process(x):\n    time.sleep(0.05)\n    return x\n"
    with gristmill.run(chunk_job(**numbers(1000), **source(text), **output), 1) as run:
        run.wait(timeout=0.2)
    with pytest.raises(GristmillError, match="the run was stopped"):
        list(run.results())


@pytest.mark.parametrize("state", [None, "kept"])
def test_no_workers(here: Here, state: str | None) -> None:
    with pytest.raises(UsageError, match="at least one"):
        gristmill.run(chunk_job(), 0, state)
    assert list(here.folder.iterdir()) == []


def test_path_and_model(here: Here) -> None:
    path = here.write(chunk_job())
    assert list(gristmill.run(path, 1).results()) == list(range(10))
    assert list(gristmill.run(str(path), 1).results()) == list(range(10))
    assert list(gristmill.run(load_manifest(path), 1).results()) == list(range(10))


def test_reduce_without_an_output(here: Here) -> None:
    text = "def process(x):\n    return x\n\ndef add(a, b):\n    return a + b\n"
    run = gristmill.run(chunk_job(**numbers(100), **source(text), reduce={"function": "add"}), 2)
    assert list(run.results()) == [4950]
    assert list(run.results()) == [4950]


def test_state_goes_on(here: Here) -> None:
    job = chunk_job()
    run = gristmill.run(job, 1, "kept")
    assert run.wait()["state"] == "Complete"
    again = gristmill.run(job, 1, "kept")
    assert again.status == run.status
    assert list(again.results()) == list(range(10))
    with pytest.raises(UsageError, match=r"spec\.input changed"):
        gristmill.run(chunk_job(**numbers(5)), 1, "kept")
    assert list(gristmill.run(chunk_job(**numbers(5)), 1, "kept", fresh=True).results()) == list(range(5))


def test_a_module_that_starts_its_own_run_when_it_is_imported_is_told(here: Here) -> None:
    """Each worker would start workers that start workers."""
    begin = "import gristmill\n\ndef double(x):\n    return 2 * x\n\n"
    job = chunk_job(process={"function": "mine:double"})
    (here.folder / "mine.py").write_text(f"{begin}print(list(gristmill.run({job!r}, 2).results()))\n")
    words = [sys.executable, "mine.py"]
    done = subprocess.run(words, cwd=here.folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "put the call of gristmill.run below `if __name__ == '__main__':`" in done.stderr


def test_what_a_worker_loads_may_run_another_job(here: Here) -> None:
    """As for a table that a class needs."""
    other = chunk_job(process={"function": "inner:square"})
    (here.folder / "inner.py").write_text("def square(x):\n    return x * x\n")
    text = f"""
import gristmill

class Model:
    def __init__(self):
        self.table = list(gristmill.run({other!r}, 1).results())

    def __call__(self, x):
        return self.table[x]
"""
    (here.folder / "mine.py").write_text(text)
    here.write(chunk_job(process={"class": "mine:Model"}))
    here.run("run", "job.yaml", "--workers", "1")
    assert here.results() == [x * x for x in range(10)]


@pytest.mark.parametrize("kind", ["class", "source"])
def test_what_a_worker_loads_may_not_run_its_own_job(here: Here, kind: str) -> None:
    """Each worker of that would run it again."""
    model = "import gristmill\n\nclass Model:\n    def __init__(self):\n        gristmill.run('job.yaml', 1).wait()\n"
    (here.folder / "mine.py").write_text(f"{model}\n    def __call__(self, x):\n        return x\n")
    text = "import gristmill\n\ngristmill.run('job.yaml', 1).wait()\n\ndef process(x):\n    return x\n"
    here.write(chunk_job(process={"class": "mine:Model"} if kind == "class" else {"source": text}))
    done = here.run("run", "job.yaml", "--workers", "1", code=1)
    assert "this is a worker, which loads the function of this very job" in done.stderr


@pytest.mark.parametrize("place", ["jobs", "scripts/jobs"])
def test_a_package_without_an_init_that_is_elsewhere_too_is_not_taken_for_changed(
    here: Here, place: str
) -> None:
    """The path of the script is not that of the workers."""
    job = chunk_job(process={"function": "jobs.f:process"})
    for name in {"jobs", place}:
        (here.folder / name).mkdir(parents=True)
    (here.folder / "jobs/f.py").write_text("def process(x):\n    return x\n")
    (here.folder / place / "other.py").touch()
    script = here.folder / "scripts/go.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"import gristmill\n\nprint(sum(gristmill.run({job!r}, 2).results()))\n")
    words = [sys.executable, "scripts/go.py"]
    done = subprocess.run(words, cwd=here.folder, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("45\n", 0), done.stderr


def test_a_package_that_writes_a_module_when_it_is_imported_is_not_taken_for_changed(here: Here) -> None:
    package = here.folder / "pk"
    package.mkdir()
    text = """
from pathlib import Path

try:
    from pk import table
except ImportError:
    Path(__file__).with_name("table.py").write_text("")

def f(x):
    return x
"""
    (package / "f.py").write_text(text)
    here.write(chunk_job(**numbers(20, 2), process={"function": "pk.f:f"}))
    here.run("run", "job.yaml", "--workers", "2")


def test_a_run_that_has_ended_keeps_nothing_open(here: Here) -> None:
    gristmill.run(chunk_job(), 1, "before").wait()
    before = sorted(os.listdir("/dev/fd"))
    run = gristmill.run(chunk_job(), 1, "kept")
    assert list(run.results()) == list(range(10))
    stopped = gristmill.run(chunk_job(), 1)
    assert stopped.status["name"]
    stopped.cancel(now=True)
    assert sorted(os.listdir("/dev/fd")) == before


def test_failures(here: Here) -> None:
    text = "def process(x):\n    return 10 // (x - 3)\n"
    job = chunk_job(**numbers(10, 5), **source(text), retry={"attempts": 1}, failures={"tolerated": 1})
    run = gristmill.run(job, 2)
    assert len(list(run.results())) == 9
    (letter,) = run.failures()
    assert (letter.chunk, letter.item, letter.error) == (
        0,
        3,
        "ZeroDivisionError: integer division or modulo by zero",
    )


def test_failed_job_raises(here: Here) -> None:
    text = "def process(x):\n    raise ValueError('no')\n"
    run = gristmill.run(chunk_job(**source(text), retry={"attempts": 1}), 1)
    with pytest.raises(JobFailed, match="TooManyFailures") as caught:
        list(run.results())
    assert caught.value.reason == "TooManyFailures"
    assert run.failures()


@pytest.mark.parametrize("suspend", [False, True])
def test_a_job_that_is_removed_has_failed_and_says_why(here: Here, suspend: bool) -> None:
    text = "import time\n\ndef process(x):\n    time.sleep(600)\n"
    with gristmill.run(chunk_job(**source(text), suspend=suspend), 1) as run:
        results = run.results()
        assert run._host.queue().cancel() == "removed"
        with pytest.raises(JobFailed, match=r"failed \(Removed\): it was given up"):
            next(results)
        assert run.status["state"] == "Failed"


def test_wrong_manifest_raises() -> None:
    with pytest.raises(ManifestError, match=r"spec.chunks.size: "):
        gristmill.run(chunk_job(chunks={"size": 0}))


@pytest.mark.parametrize("job", [None, 3, []])
def test_what_is_no_job_is_told(job: Any) -> None:
    with pytest.raises(UsageError, match="a job is a path, a text, a dict or a ChunkJob, got"):
        gristmill.run(job)


@pytest.mark.parametrize("workers", ["2", 2.5, 0])
def test_what_is_no_number_of_workers_is_told(workers: Any) -> None:
    with pytest.raises(UsageError, match=r"^workers: "):
        gristmill.run(chunk_job(), workers=workers)


def test_cancel(here: Here) -> None:
    text = "import time\n\ndef process(x):\n    time.sleep(0.05)\n    return x\n"
    with gristmill.run(chunk_job(**numbers(1000), **source(text)), 1) as run:
        assert run.wait(timeout=0.2)["state"] in ("Pending", "Planning", "Running")
    assert run.status["state"] == "Stopped"


def test_cancel_does_not_wait_for_a_queue_that_froze_before_it_was_heard(here: Here, until: Until) -> None:
    run = gristmill.run(chunk_job(**numbers(1000)), 1, state="s")
    pid = here.folder / "s" / "queue" / "server.pid"
    until(lambda: pid.exists() and pid.read_text())
    os.kill(int(pid.read_text()), signal.SIGSTOP)
    run.cancel()
    assert run.status["state"] == "Stopped"
    assert run.status["name"] == "job"
    assert run.status["chunks"]["total"] is None


def test_a_run_that_has_ended_is_not_stopped_by_leaving(here: Here) -> None:
    text = "def process(x):\n    return 1 // x\n"
    job = chunk_job(**numbers(5), **source(text), retry={"attempts": 1}, failures={"tolerated": 1})
    with gristmill.run(job, 1) as run:
        assert run.wait(timeout=60)["state"] == "Complete"
    assert run.status["state"] == "Complete"
    assert repr(run).endswith(": Complete>")
    assert [letter.item for letter in run.failures()] == [0]
    with pytest.raises(GristmillError, match="stopped before all results of the job job were fetched"):
        list(run.results())


def test_a_run_that_cannot_note_its_end_lets_the_folder_go(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(state: State, status: dict[str, Any] | None) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    job = chunk_job(**numbers(10))
    run = gristmill.run(job, workers=1, state="s")
    with monkeypatch.context() as patched:
        patched.setattr(State, "save_status", full)
        with pytest.raises(OSError, match="no space left"):
            run.wait()
    with gristmill.run(job, workers=1, state="s") as run:
        assert run.wait()["state"] == "Complete"


def test_slow_reader_holds_the_job_back(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRISTMILL_WINDOW_BYTES", "200000")
    monkeypatch.setenv("GRISTMILL_PIECE_BYTES", "50000")
    text = "def process(x):\n    return 'x' * 10000\n"
    run = gristmill.run(chunk_job(**numbers(2000), **source(text)), 2)
    results = run.results()
    next(results)
    seen = max(run.poll(0.1)["chunks"]["succeeded"] for _ in range(10))
    assert seen < 1500
    assert sum(1 for _ in results) == 1999


def test_two_at_once_in_threads(here: Here) -> None:
    found: dict[int, list[Any]] = {}

    def work(size: int) -> None:
        found[size] = list(gristmill.run(chunk_job(**numbers(size)), 1).results())

    threads = [threading.Thread(target=work, args=(size,)) for size in (50, 60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {size: len(results) for size, results in found.items()} == {50: 50, 60: 60}


def test_script_without_a_main_guard(here: Here) -> None:
    (here.folder / "mine.py").write_text("def double(x):\n    return 2 * x\n")
    job = chunk_job(**numbers(5), process={"function": "mine:double"})
    script = here.folder / "script.py"
    script.write_text(f"import gristmill\nprint(list(gristmill.run({job!r}, workers=2).results()))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("[0, 2, 4, 6, 8]\n", "")


@pytest.mark.parametrize("end", ["", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"])
def test_run_that_is_dropped_leaves_nothing(here: Here, until: Until, end: str) -> None:
    temporary = here.folder / "temporary"
    temporary.mkdir()
    script = here.folder / "script.py"
    job = chunk_job(**source("import time\n\ndef process(x):\n    time.sleep(600)\n"))
    script.write_text(f"import gristmill\nrun = gristmill.run({job!r}, 1)\nrun.wait(0.5)\n{end}")
    environment = {**os.environ, "TMPDIR": str(temporary), "GRISTMILL_DRAIN_SECONDS": "0.2"}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (-9 if end else 0, "")
    until(lambda: not list(temporary.iterdir()))
