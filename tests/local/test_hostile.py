"""User code that does what user code should not: the run goes on, and says why a chunk failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.builders import chunk_job, numbers, source
from tests.conftest import Until
from tests.local.conftest import Here, is_alive

TOLERANT = {
    "failures": {"tolerated": 10},
    "retry": {"attempts": 1, "timeoutSeconds": 2},
    "workers": {"leaseSeconds": 5},
}

#: what an item does, the kind of its dead letter, and a word of its error
DEEDS = {
    "a fork that outlives": (
        "import os, time\ndef bad():\n    if os.fork() == 0:\n        time.sleep(600)\n    os._exit(0)",
        "crash",
        "exited with code 0",
    ),
    "a fork that outlives a loop": (
        "import os, time\ndef bad():\n    os.fork()\n    time.sleep(600)",
        "timeout",
        "longer than 2 s",
    ),
    "printing without end": (
        "import os\ndef bad():\n    while True:\n        os.write(1, b'x' * 1000 + b'\\n')",
        "timeout",
        "longer than 2 s",
    ),
    "a signal without a name": ("import os\ndef bad():\n    os.kill(os.getpid(), 40)", "crash", "signal 40"),
    "an error that can't be shown": (
        "class Odd(Exception):\n    def __str__(self):\n        raise KeyError\ndef bad():\n    raise Odd",
        "error",
        "Odd",
    ),
    "an error that is no text": ("def bad():\n    raise ValueError('\\udc80')", "error", "ValueError"),
    "closed descriptors": (
        "import os\ndef bad():\n    os.close(1)\n    os.close(2)\n    1 / 0",
        "error",
        "ZeroDivision",
    ),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_one_bad_item_is_a_dead_letter_and_all_others_are_done(here: Here, deed: str) -> None:
    text, kind, word = DEEDS[deed]
    text += "\ndef process(x):\n    return bad() if x == 11 else x\n"
    here.write(chunk_job(**numbers(20), **source(text), **TOLERANT))
    status = here.status("--workers", "1")
    assert status["items"] == {"total": 20, "succeeded": 19, "failed": 1}
    assert here.results() == [x for x in range(20) if x != 11]
    letter = json.loads(here.run("failures", "--json").stdout)
    assert (letter["chunk"], letter["kind"]) == (11, kind)
    assert word in letter["error"]
    assert letter["input"] == "11"
    assert "/gristmill/" not in letter["traceback"]


def test_what_died_of_an_item_that_can_not_be_read_any_more_is_told_without_it(here: Here) -> None:
    lines = here.folder / "lines.txt"
    lines.write_text("one\ntwo\nthree\n")
    text = "import os\ndef process(x):\n    return os.abort() if x in ('one', 'three') else x\n"
    here.write(chunk_job(input={"lines": {"url": "lines.txt"}}, **source(text), failures={"tolerated": 2}))
    here.status("--workers", "1")

    def inputs(*words: str) -> list[str]:
        return [json.loads(line)["input"] for line in here.run(*words, "--json").stdout.splitlines()]

    assert inputs("failures") == ['"one"', '"three"']
    lines.write_text("four\n")
    assert inputs("failures") == ["", ""]
    lines.unlink()
    assert inputs("failures") == ["", ""]


def test_what_was_printed_while_the_code_was_loaded_explains_no_crash(here: Here) -> None:
    text = (
        "import os, signal\n\nprint('loading')\n\ndef process(x):\n"
        "    if x % 5 == 2:\n        os.kill(os.getpid(), signal.SIGSEGV)\n    return x\n"
    )
    here.write(chunk_job(**numbers(20), **source(text), retry={"attempts": 1}, failures={"tolerated": 4}))
    assert here.status()["items"]["failed"] == 4
    assert "SIGSEGV" in (printed := here.run("failures").stdout)
    assert "loading" not in printed


@pytest.mark.parametrize("deed", ["return x", "raise ValueError(x)", "os._exit(3)"])
def test_what_user_code_forked_does_not_outlive_the_run(here: Here, until: Until, deed: str) -> None:
    text = (
        "import os, time\ndef process(x):\n    pid = os.fork()\n    if pid == 0:\n        time.sleep(600)\n"
        f"    with open('forked', 'a') as file:\n        file.write(f'{{pid}}\\n')\n    {deed}\n"
    )
    here.write(chunk_job(**numbers(2), **source(text), **TOLERANT))
    here.run("run", "job.yaml")
    forked = [int(pid) for pid in (here.folder / "forked").read_text().split()]
    assert len(forked) >= 2
    for pid in forked:
        until(lambda pid=pid: not is_alive(pid))


@pytest.mark.parametrize("deed", ["return 'copy'", "raise ValueError('copy')", "sys.exit()"])
@pytest.mark.parametrize("each", ["item", "chunk"])
def test_a_fork_that_comes_back_from_the_function_answers_nothing(here: Here, deed: str, each: str) -> None:
    text = (
        "import os, sys, time\n"
        "def process(x):\n"
        "    if x in (3, range(3, 4)):\n"
        f"        if os.fork() == 0:\n            {deed}\n"
        "        time.sleep(0.2)  # (the copy is first)\n"
        "    return list(x) if isinstance(x, range) else x\n"
    )
    here.write(chunk_job(**numbers(6), **source(text, each=each), retry={"attempts": 1}))
    assert here.status("--workers", "1")["items"]["failed"] == 0
    assert here.results() == list(range(6))


@pytest.mark.parametrize("deed", ["return 0", "raise ValueError('copy')", "sys.exit()"])
@pytest.mark.parametrize("left", [pytest.param(0, id="in a lease"), pytest.param(120, id="in the end")])
def test_a_fork_that_comes_back_from_the_reduce_function_answers_nothing(
    here: Here, deed: str, left: int
) -> None:
    """(0 + 1 is the first that a lease combines, and 120 is the value of the first of two blocks.)"""
    text = (
        "import os, sys, time\n"
        "def process(x):\n    return x\n"
        "def add(a, b):\n"
        f"    if a == {left}:\n"
        "        with open('forks', 'a') as file:\n            file.write('x')\n"
        f"        if os.fork() == 0:\n            {deed}\n"
        "        time.sleep(0.2)  # (the copy is first)\n"
        "    return a + b\n"
    )
    here.write(chunk_job(**numbers(32), **source(text), reduce={"function": "add"}, retry={"attempts": 1}))
    assert here.status("--workers", "1")["items"]["failed"] == 0
    assert here.results() == [sum(range(32))]
    assert (here.folder / "forks").read_text() == "x"
    assert "ended (call os._exit in it)" in here.run("logs").stdout


def test_a_fork_that_comes_back_from_loading_the_code_answers_nothing(here: Here) -> None:
    text = "import os, time\nif os.fork() == 0:\n    raise ValueError('copy')\ntime.sleep(0.1)\n"
    here.write(chunk_job(**numbers(6), **source(text + "def process(x):\n    return x\n")))
    assert here.status("--workers", "1")["items"]["succeeded"] == 6
    assert here.results() == list(range(6))


def test_a_child_that_takes_the_place_of_one_that_died_has_no_error_to_handle(here: Here) -> None:
    text = (
        "import os, sys\ndef process(x):\n    if x == 1:\n        os._exit(7)\n"
        "    return str(sys.exc_info()[0])\n"
    )
    here.write(chunk_job(**numbers(5), **source(text), **TOLERANT))
    here.run("run", "job.yaml", "--workers", "1")
    assert here.results() == ["None"] * 4


def test_an_item_that_kills_its_worker_is_found_and_all_others_are_done(here: Here) -> None:
    text = (
        "import os\ndef process(x):\n    if x == 11:\n        os.kill(os.getppid(), 9)\n        os._exit(1)\n"
    )
    text += "    return x\n"
    retry = {"attempts": 3, "infrastructure": 2, "backoffSeconds": 0.05}
    here.write(
        chunk_job(
            **numbers(32, 8), **source(text), **(TOLERANT | {"failures": {"tolerated": 1}, "retry": retry})
        )
    )
    status = here.status("--workers", "1")
    assert status["items"] == {"total": 32, "succeeded": 31, "failed": 1}
    assert here.results() == [x for x in range(32) if x != 11]
    letter = json.loads(here.run("failures", "--json").stdout)
    assert (letter["kind"], letter["item"]) == ("lost", 3)


def test_children_that_crash_leave_no_drafts_of_an_output_elsewhere(here: Here) -> None:
    text = (
        "import os, time\ndef process(x):\n    time.sleep(0.002)\n"
        "    if x in (5, 9):\n        os.kill(os.getpid(), 11)\n    return x\n"
    )
    output = {"output": {"url": f"local://{here.folder}/out"}}
    here.write(chunk_job(**numbers(20), **source(text), **output, **TOLERANT))
    temporary = here.folder / "temporary"
    temporary.mkdir()
    here.run("run", "job.yaml", "--workers", "1", env={**os.environ, "TMPDIR": str(temporary)})
    assert here.results() == [x for x in range(20) if x not in (5, 9)]
    assert list(temporary.iterdir()) == []


def test_a_chunk_that_is_slow_as_a_whole_runs_in_halves_and_gives_nothing_up(here: Here) -> None:
    text = "import time\ndef process(x):\n    time.sleep(0.05)\n    return x\n"
    retry = {"attempts": 2, "backoffSeconds": 0.05, "timeoutSeconds": 0.6}
    here.write(chunk_job(**numbers(16, 16), **source(text), retry=retry, failures={"tolerated": 16}))
    assert here.status()["items"]["failed"] == 0
    assert here.results() == list(range(16))


@pytest.mark.parametrize(
    "text",
    [
        "import sys\ndef process(x):\n    sys.stdout.buffer.write(b'raw\\n')\n    return sys.stdout.encoding",
        "import os\ndef process(x):\n    os.write(1, b'\\x1ebinary\\x1fgarbage\\n')\n    return 'utf-8'",
        "def process(x):\n    for i in range(20000):\n        print(i, end='\\r')\n    return 'utf-8'",
    ],
    ids=["buffer", "binary", "progress bar"],
)
def test_printing_of_any_kind_is_fine(here: Here, text: str) -> None:
    here.write(chunk_job(**numbers(3), **source(text)))
    here.status("--workers", "1")
    assert here.results() == ["utf-8"] * 3


def test_a_reduction_that_raises_fails_the_job_with_the_original_error(here: Here) -> None:
    text = "def process(x):\n    return 'a' if x == 7 else x\ndef add(a, b):\n    return a + b\n"
    here.write(
        chunk_job(**numbers(10), **source(text), reduce={"function": "add"}, failures={"tolerated": 5})
    )
    status = here.status(code=1)
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert failed["reason"] == "ReduceError"
    assert "TypeError" in failed["message"]


def test_a_percentage_is_of_items_whatever_fails_together(here: Here) -> None:
    text = "def process(x):\n    raise ValueError(x)\n"
    failures = {"tolerated": "5%", "isolate": False}
    here.write(chunk_job(**numbers(1000, 100), **source(text), failures=failures, retry={"attempts": 1}))
    status = here.status(code=1)
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert failed["reason"] == "TooManyFailures"
    assert "items failed" in failed["message"]


def test_results_larger_than_what_is_read_at_a_time(here: Here) -> None:
    text = "def process(x):\n    return 'y' * (40 << 20)\n"
    here.write(chunk_job(**numbers(2), **source(text)))
    script = (
        "import gristmill, sys\n"
        "with gristmill.run('job.yaml', workers=1) as run:\n"
        "    print([len(r) for r in run.results()])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=here.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == str([40 << 20] * 2)
