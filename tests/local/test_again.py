"""Running again: what was done is kept, what was changed is noticed, what was left behind is ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from typing import Any

import pytest
from tests.builders import chunk_job, numbers, source
from tests.conftest import Until
from tests.local.conftest import Here, end_group, is_alive

#: counts its calls in a file; a chunk takes a moment
COUNTING = (
    "import os, time\n\ndef process(x):\n    time.sleep(0.01)\n"
    "    with open(os.environ['CALLS'], 'a') as file:\n        file.write(f'{x}\\n')\n    return x\n"
)


@pytest.fixture
def slow(here: Here, monkeypatch: pytest.MonkeyPatch) -> Here:
    monkeypatch.setenv("CALLS", str(here.folder / "calls"))
    monkeypatch.setenv("GRISTMILL_LEASE_WORK_SECONDS", "0.1")
    here.write(chunk_job("slow", **numbers(400), **source(COUNTING)))
    return here


def calls(here: Here) -> list[str]:
    path = here.folder / "calls"
    return path.read_text().split() if path.exists() else []


def keeper_of(here: Here, name: str = "slow") -> int:
    return int((here.folder / ".gristmill" / name / "keeper.lock").read_text().split()[0])


def server_of(here: Here, name: str = "slow") -> int:
    return int((here.folder / ".gristmill" / name / "queue" / "server.pid").read_text())


def workers_of(here: Here) -> list[int]:
    told = subprocess.run(["ps", "-e", "-o", "ppid=,pid="], capture_output=True, check=True, text=True).stdout
    pairs = [tuple(map(int, line.split())) for line in told.splitlines()]
    return [pid for parent, pid in pairs if parent == keeper_of(here) and pid != server_of(here)]


def check_complete(here: Here, most_calls: int = 400) -> dict[str, Any]:
    status = here.status()
    assert status["state"] == "Complete"
    assert here.results() == list(range(400))
    assert 400 <= len(calls(here)) <= most_calls
    return status


def test_ctrl_c_finishes_what_runs_and_the_next_run_goes_on(slow: Here, until: Until) -> None:
    process = slow.start("run", "job.yaml", "--json")
    until(lambda: len(calls(slow)) > 40)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "`gristmill run job.yaml` goes on from here" in err
    told = json.loads(out.splitlines()[-1])
    assert told["state"] == "Stopped"
    assert not is_alive(keeper_of(slow))
    assert not is_alive(server_of(slow))
    done = len(calls(slow))
    assert done < 400
    found = json.loads(slow.run("get", "--json").stdout)
    assert found["chunks"]["succeeded"] >= done - 2
    for counts in ("chunks", "items", "workers"):
        assert told[counts] == found[counts]
    check_complete(slow, most_calls=402)


def test_second_ctrl_c_does_not_wait_for_what_runs(here: Here, until: Until) -> None:
    here.write(chunk_job("slow", **source("import time\n\ndef process(x):\n    time.sleep(600)\n")))
    process = here.start("run", "job.yaml", env={**os.environ, "GRISTMILL_DRAIN_SECONDS": "600"})
    log = here.folder / ".gristmill" / "slow" / "queue" / "server.log"
    until(log.exists)
    until(lambda: json.loads(here.run("get", "--json").stdout)["chunks"]["running"])
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    until(lambda: "stopping" in process.stderr.readline())
    keeper, server = keeper_of(here), server_of(here)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    until(lambda: not is_alive(keeper))
    until(lambda: not is_alive(server))


def test_ctrl_c_does_not_wait_for_a_queue_that_is_frozen(slow: Here, until: Until) -> None:
    process = slow.start("run", "job.yaml", "--json")
    until(lambda: len(calls(slow)) > 40)
    os.kill(server_of(slow), signal.SIGSTOP)
    keeper = keeper_of(slow)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 130
    assert "`gristmill run job.yaml` goes on from here" in err
    assert json.loads(out.splitlines()[-1])["state"] == "Stopped"
    assert not is_alive(keeper)
    check_complete(slow, most_calls=800)


def test_kill_of_the_runner_ends_all_and_the_next_run_goes_on(slow: Here, until: Until) -> None:
    process = slow.start("run", "job.yaml")
    until(lambda: len(calls(slow)) > 40)
    keeper, server = keeper_of(slow), server_of(slow)
    process.kill()
    until(lambda: not is_alive(keeper))
    until(lambda: not is_alive(server))
    check_complete(slow, most_calls=402)


def test_the_next_run_does_not_wait_for_leftovers_to_be_gone(slow: Here, until: Until) -> None:
    process = slow.start("run", "job.yaml")
    until(lambda: len(calls(slow)) > 40)
    process.kill()
    check_complete(slow, most_calls=402)


def test_kill_of_everything(slow: Here, until: Until) -> None:
    process = slow.start("run", "job.yaml")
    until(lambda: len(calls(slow)) > 40)
    server = server_of(slow)
    end_group(keeper_of(slow))
    process.kill()
    until(lambda: not is_alive(server))
    check_complete(slow, most_calls=440)


def test_kill_of_the_keeper_is_mended_by_the_runner(slow: Here, until: Until) -> None:
    process = slow.start("run", "job.yaml", "--json")
    until(lambda: len(calls(slow)) > 40)
    os.kill(keeper_of(slow), signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["state"] == "Complete"
    assert slow.results() == list(range(400))


def test_kill_of_the_server_is_mended_by_the_keeper(slow: Here, until: Until) -> None:
    process = slow.start("run", "job.yaml", "--json")
    until(lambda: len(calls(slow)) > 40)
    os.kill(server_of(slow), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert slow.results() == list(range(400))


def test_kill_of_the_server_before_its_first_answer(here: Here, until: Until) -> None:
    here.write(chunk_job())
    process = here.start("run", "job.yaml")
    pid = here.folder / ".gristmill" / "job" / "queue" / "server.pid"
    os.kill(int(until(lambda: pid.exists() and pid.read_text())), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert here.results() == list(range(10))


@pytest.mark.parametrize("name", ["s", "long-" * 20])
def test_queue_folder_deleted_goes_on_from_the_parts(slow: Here, until: Until, name: str) -> None:
    process = slow.start("run", "job.yaml", "--json", "--state", name)
    until(lambda: len(calls(slow)) > 40)
    shutil.rmtree(slow.folder / name / "queue")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert slow.results("--state", name) == list(range(400))
    assert len(calls(slow)) < 480


def test_kill_of_a_worker(slow: Here, until: Until) -> None:
    process = slow.start("run", "job.yaml", "--json", "--workers", "2")
    until(lambda: len(calls(slow)) > 40)
    os.kill(workers_of(slow)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert slow.results() == list(range(400))


def test_workers_that_are_told_to_go_are_replaced(slow: Here, until: Until) -> None:
    process = slow.start("run", "job.yaml", "--json", "--workers", "2")
    until(lambda: len(calls(slow)) > 40)
    for worker in workers_of(slow):
        os.kill(worker, signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert slow.results() == list(range(400))
    assert len(calls(slow)) == 400


def test_second_runner_is_refused(here: Here, until: Until) -> None:
    here.write(chunk_job("slow", **source("import time\n\ndef process(x):\n    time.sleep(600)\n")))
    process = here.start("run", "job.yaml")
    until((here.folder / ".gristmill" / "slow" / "job.json").exists)
    done = here.run("run", "job.yaml", code=2)
    assert f"run by process {process.pid} already" in done.stderr


def test_complete_run_is_not_run_again(slow: Here) -> None:
    first = check_complete(slow)
    begun = len(calls(slow))
    assert slow.status() == first
    assert len(calls(slow)) == begun
    slow.run("run", "job.yaml", "--fresh")
    assert len(calls(slow)) == begun + 400
    assert slow.results() == list(range(400))


def test_changed_manifest_is_refused(slow: Here) -> None:
    slow.run("run", "job.yaml")
    slow.write(chunk_job("slow", **numbers(300), **source(COUNTING)))
    done = slow.run("run", "job.yaml", code=2)
    assert "spec.input changed since this run began: --fresh starts anew" in done.stderr
    slow.run("run", "job.yaml", "--state", "other")
    assert slow.results("--state", "other") == list(range(300))
    slow.run("run", "job.yaml", "--fresh")
    assert slow.results("slow") == list(range(300))


def test_changed_code_is_refused_unless_accepted(here: Here, until: Until) -> None:
    module = here.folder / "mine.py"
    module.write_text("import time\n\ndef f(x):\n    time.sleep(0.02)\n    return 1\n")
    here.write(chunk_job(**numbers(200), process={"function": "mine:f"}))
    process = here.start("run", "job.yaml")
    output = here.folder / ".gristmill/job/output"
    until(lambda: list(output.glob("part-*")))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    module.write_text("def f(x):\n    return 2\n")
    done = here.run("run", "job.yaml", code=2)
    assert "--accept-code" in done.stderr
    here.run("run", "job.yaml", "--accept-code")
    results = here.results()
    assert len(results) == 200
    assert set(results) == {1, 2}


@pytest.mark.parametrize("accepts", [False, "by option", "by field"])
def test_code_that_changes_while_it_runs_is_not_mixed_in_unless_accepted(
    here: Here, accepts: bool | str
) -> None:
    """A process that dies is started again, and loads what is there then."""
    module, other = here.folder / "mine.py", "def f(x):\n    return 2\n"
    before = f"""
import os

def f(x):
    if x == 50 and not os.path.exists("died"):
        open("died", "w").close()
        open("mine.py", "w").write({other!r})
        os._exit(3)
    return 1
"""
    module.write_text(before)
    job = chunk_job(**numbers(100, 10), process={"function": "mine:f"})
    here.write(job)
    failed = here.run("run", "job.yaml", "--workers", "1", code=1)
    assert "CodeChanged" in failed.stderr
    assert "the module mine is not the one that the job has: bring that back, or run again" in failed.stderr
    if not accepts:
        module.write_text(before)
    elif accepts == "by field":
        here.write(job | {"spec": job["spec"] | {"acceptCode": True}})
    here.run("run", "job.yaml", *(["--accept-code"] if accepts == "by option" else []))
    results = here.results()
    assert len(results) == 100
    assert set(results) == ({1, 2} if accepts else {1})


def test_code_that_was_accepted_is_the_jobs_from_then_on_and_other_code_is_not(here: Here) -> None:
    module = here.folder / "mine.py"
    accepted = """
import os

def f(x):
    if x == 90:
        if not os.path.exists("goes"):
            raise ValueError
        if not os.path.exists("died"):
            open("died", "w").close()
            open("mine.py", "a").write("# other")
            os._exit(3)
    return 2
"""
    retry = {"attempts": 2, "backoffSeconds": 0.1}
    here.write(chunk_job(**numbers(100, 10), process={"function": "mine:f"}, retry=retry))
    module.write_text("def f(x):\n    return 1 if x < 50 else [][x]\n")
    assert "TooManyFailures" in here.run("run", "job.yaml", "--workers", "1", code=1).stderr
    module.write_text(accepted)
    assert "TooManyFailures" in here.run("run", "job.yaml", "--workers", "1", "--accept-code", code=1).stderr
    (here.folder / "goes").touch()
    assert "CodeChanged" in here.run("run", "job.yaml", "--workers", "1", code=1).stderr
    module.write_text(accepted)
    here.run("run", "job.yaml", "--workers", "1")
    assert set(here.results()) == {1, 2}


def test_code_that_changes_when_the_queue_is_lost_is_not_mixed_in(here: Here, until: Until) -> None:
    """Its workers know what they had before."""
    module, text = here.folder / "mine.py", "import time\n\ndef f(x):\n    time.sleep(0.05)\n    return {}\n"
    module.write_text(text.format(1))
    here.write(chunk_job(**numbers(200), process={"function": "mine:f"}, output={"url": "out"}))
    process = here.start("run", "job.yaml", "--workers", "1")
    until(lambda: list((here.folder / "out").glob("part-*")))
    module.write_text(text.format(2))
    shutil.rmtree(here.folder / ".gristmill/job/queue")
    words = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "CodeChanged" in words
    module.write_text(text.format(1))
    here.run("run", "job.yaml")
    assert here.results() == [1] * 200


@pytest.mark.parametrize("kind", ["source", "function"])
def test_dead_letters_are_tried_again_with_code_that_was_mended(here: Here, kind: str) -> None:
    def write(text: str) -> None:
        (here.folder / "mine.py").write_text(text)
        process = source(text) if kind == "source" else {"process": {"function": "mine:process"}}
        here.write(chunk_job(**numbers(5), **process, retry={"attempts": 1}, failures={"tolerated": 1}))

    write("def process(x):\n    return 12 / x\n")
    assert here.status()["items"]["failed"] == 1
    write("def process(x):\n    return 12 / x if x else None\n")
    here.run("retry")
    done = here.run("run", "job.yaml", code=2)
    what = "process.source" if kind == "source" else "the module mine"
    assert f"{what} is not the one that this run has" in done.stderr
    assert "--accept-code goes on" in done.stderr
    assert here.status("--accept-code")["items"]["failed"] == 0
    assert here.results() == [None, 12.0, 6.0, 4.0, 3.0]
    assert "complete, 5 results" in here.run("run", "job.yaml").stderr
    write("def process(x):\n    return 1\n")
    assert "--accept-code" in here.run("run", "job.yaml", code=2).stderr


def test_changed_code_of_an_output_without_its_state_is_refused_unless_accepted(
    here: Here, until: Until
) -> None:
    module = here.folder / "mine.py"
    module.write_text("import time\n\ndef f(x):\n    time.sleep(0.02)\n    return 1\n")
    here.write(chunk_job(**numbers(200), process={"function": "mine:f"}, output={"url": "out"}))
    process = here.start("run", "job.yaml")
    until(lambda: list((here.folder / "out").glob("part-*")))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    module.write_text("def f(x):\n    return 2\n")
    shutil.rmtree(here.folder / ".gristmill")
    refused = here.run("run", "job.yaml", code=1).stderr
    assert "CodeChanged" in refused
    assert "run again with --accept-code" in refused
    here.run("run", "job.yaml", "--accept-code")
    results = here.results()
    assert len(results) == 200
    assert set(results) == {1, 2}


def test_code_that_lies_elsewhere_and_what_no_function_needs_is_the_same_code(here: Here) -> None:
    """As when a job moves to an image that has the package installed, and less beside it."""
    package, image = here.folder / "pack", here.folder / "image"
    (package / "tests").mkdir(parents=True)
    for name in ("__init__", "unused", "tests/__init__"):
        (package / f"{name}.py").write_text(f"# {name}\n")
    (package / "helper.py").write_text("ONE = 1\n")
    (package / "work.py").write_text(
        """
import time
from pathlib import Path
from pack.helper import ONE

Path(__file__).with_name("made.py").write_text(f"# made at {time.time()}")

def f(x):
    if x == 150 and not Path("died").exists():
        Path("died").touch()
        raise ValueError
    return ONE
"""
    )
    job = chunk_job(
        **numbers(200), process={"function": "pack.work:f"}, output={"url": "out"}, retry={"attempts": 1}
    )
    here.write(job)
    here.run("run", "job.yaml", "--workers", "1", code=1)
    (package / "tests" / "test_new.py").touch()
    shutil.rmtree(here.folder / ".gristmill")
    (image / "pack").mkdir(parents=True)
    for name in ("__init__", "helper", "work"):
        (package / f"{name}.py").rename(image / "pack" / f"{name}.py")
    shutil.rmtree(package)
    env = {**os.environ, "PYTHONPATH": str(image)}
    here.run("run", "job.yaml", env=env)
    assert here.results() == [1] * 200
    (image / "pack" / "helper.py").write_text("ONE = 2\n")
    refused = here.run("run", "job.yaml", env=env, code=2).stderr
    assert "the module pack.helper is not the one" in refused
    shutil.rmtree(here.folder / ".gristmill")
    refused = here.run("run", "job.yaml", env=env, code=1).stderr
    assert "the module pack.helper is not the one" in refused


@pytest.mark.parametrize("where", ["while it is loaded", "in the function"])
def test_what_a_process_has_loaded_is_what_it_runs(here: Here, where: str) -> None:
    """A file that is another one by the time that somebody looks, and one that is imported late."""
    change = 'open("late.py", "w").write("VALUE = 2  # another\\n")'
    (here.folder / "late.py").write_text("VALUE = 1\n")
    loads = f"import late\n{change}" if where == "while it is loaded" else ""
    (here.folder / "mine.py").write_text(
        f"""
import os, time

{loads}

def f(x):
    import late
    time.sleep(0.002)
    if x == 50 and not os.path.exists("died"):
        open("died", "w").close()
        {change}
        os._exit(3)
    return late.VALUE
"""
    )
    here.write(chunk_job(**numbers(100, 10), process={"function": "mine:f"}))
    failed = here.run("run", "job.yaml", "--workers", "1", code=1).stderr
    assert "CodeChanged" in failed
    assert "late.py is not the one that the job has" in failed
    (here.folder / "late.py").write_text("VALUE = 1\n")
    if where == "in the function":
        here.run("run", "job.yaml", "--workers", "1")
        assert here.results() == [1] * 100


def test_what_was_accepted_is_the_jobs_and_not_what_was_before(here: Here) -> None:
    module, first = here.folder / "mine.py", "def f(x):\n    return [][x]\n"
    here.write(chunk_job(**numbers(4), process={"function": "mine:f"}))
    module.write_text(first)
    here.run("run", "job.yaml", code=1)
    module.write_text(first + "# changed\n")
    assert "TooManyFailures" in here.run("run", "job.yaml", "--accept-code", code=1).stderr
    assert "TooManyFailures" in here.run("run", "job.yaml", code=1).stderr
    module.write_text(first)
    assert "the module mine is not the one that the job has" in here.run("run", "job.yaml", code=1).stderr


def test_files_that_a_program_loads_under_any_name_are_told_apart(here: Here) -> None:
    """Plugins that are all called alike, a library that is also installed, and one of a name beside it."""
    files = {
        "plugins/one.py": "VALUE = 1\n",
        "plugins/two.py": "VALUE = 1  # other\n",
        "vendor/iniconfig.py": "VALUE = 0  # (it is installed, too)\n",
        "mine.py": """
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER / "vendor"))
import iniconfig

def plugin(name):
    spec = spec_from_file_location("plugin", FOLDER / "plugins" / name)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def f(x):
    if x == 150 and not Path("again").exists():
        Path("again").touch()
        raise ValueError
    return plugin("one.py" if x % 2 else "two.py").VALUE + iniconfig.VALUE
""",
    }
    for name, text in files.items():
        (here.folder / name).parent.mkdir(exist_ok=True)
        (here.folder / name).write_text(text)
    here.write(
        chunk_job(
            **numbers(200), process={"function": "mine:f"}, output={"url": "out"}, retry={"attempts": 1}
        )
    )
    assert "TooManyFailures" in here.run("run", "job.yaml", code=1).stderr
    here.run("run", "job.yaml")
    shutil.rmtree(here.folder / ".gristmill")
    (here.folder / "out" / "_gristmill" / "manifest.json").unlink()
    here.run("run", "job.yaml")
    assert here.results() == [1] * 200
    (here.folder / "plugins" / "two.py").write_text("VALUE = 2\n")
    assert "plugins/two.py is not the one that this run has" in here.run("run", "job.yaml", code=2).stderr


def test_what_was_loaded_late_or_accepted_is_known_where_only_the_output_is_left(here: Here) -> None:
    helper = here.folder / "helper.py"
    (here.folder / "mine.py").write_text(
        """
import os

def f(x):
    import helper
    if x == 150 and not os.path.exists("goes"):
        raise ValueError
    return helper.VALUE
"""
    )
    helper.write_text("VALUE = 1\n")
    here.write(
        chunk_job(
            **numbers(200), process={"function": "mine:f"}, output={"url": "out"}, retry={"attempts": 1}
        )
    )
    assert "TooManyFailures" in here.run("run", "job.yaml", code=1).stderr
    helper.write_text("VALUE = 2  # other\n")
    shutil.rmtree(here.folder / ".gristmill")
    refused = here.run("run", "job.yaml", code=1).stderr
    assert "CodeChanged" in refused
    assert "helper.py is not the one that the job has" in refused
    shutil.rmtree(here.folder / ".gristmill")
    assert "TooManyFailures" in here.run("run", "job.yaml", "--accept-code", code=1).stderr
    (here.folder / "goes").touch()
    here.run("run", "job.yaml")
    results = here.results()
    assert len(results) == 200
    assert 2 in results


def test_a_reduce_function_that_was_accepted_is_known_where_nothing_else_was_left_to_do(here: Here) -> None:
    module, text = here.folder / "mine.py", "def f(x):\n    return 1\n\ndef add(a, b):\n    return {}\n"
    module.write_text(text.format("a + b if a + b < 1500 else [][a]"))
    job = chunk_job(**numbers(3000, 1), process={"function": "mine:f"}, reduce={"function": "mine:add"})
    here.write(job | {"spec": job["spec"] | {"output": {"url": "out"}}})
    assert "ReduceError" in here.run("run", "job.yaml", code=1).stderr
    module.write_text(text.format("a + b"))
    here.run("run", "job.yaml", "--accept-code")
    assert "complete" in here.run("run", "job.yaml").stderr
    assert here.results() == [3000]


def test_parameters_may_change(here: Here) -> None:
    text = "def process(x):\n    if x == 3:\n        raise ValueError\n    return x\n"
    here.write(chunk_job(**source(text), retry={"attempts": 1}))
    assert here.status(code=1)["state"] == "Failed"
    here.write(chunk_job(**source(text), retry={"attempts": 1}, failures={"tolerated": 1}))
    assert here.status()["state"] == "Complete"


def test_retry_of_dead_letters_puts_results_in_their_place(here: Here) -> None:
    text = (
        "import os\n\ndef process(x):\n    if x == 3 and not os.path.exists('mended'):\n"
        "        raise ValueError\n    return x\n"
    )
    here.write(chunk_job(**numbers(10, 5), **source(text), retry={"attempts": 1}, failures={"tolerated": 1}))
    assert here.status()["items"]["failed"] == 1
    assert here.results() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    (here.folder / "mended").touch()
    done = here.run("retry")
    assert "1 dead letter opened again" in done.stdout
    assert "`gristmill run` goes on" in done.stdout
    assert here.status()["items"]["failed"] == 0
    assert here.results() == list(range(10))


def test_output_that_is_gone_is_told(here: Here) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml")
    shutil.rmtree(here.folder / ".gristmill" / "job" / "output")
    done = here.run("run", "job.yaml", code=2)
    assert "its output is gone" in done.stderr
    here.run("run", "job.yaml", "--fresh")
    assert here.results() == list(range(10))


@pytest.mark.parametrize("damage", ["deleted", "truncated"])
def test_output_that_is_damaged_is_made_again(here: Here, damage: str) -> None:
    here.write(chunk_job(**numbers(100)))
    first = here.status()
    part = sorted((here.folder / ".gristmill/job/output").glob("part-*"))[2]
    if damage == "deleted":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:-1])
    assert "run the job again" in here.run("results", code=1).stderr
    assert here.status()["outputDigest"] == first["outputDigest"]
    assert here.results() == list(range(100))


def test_output_without_its_manifest_is_made_again(here: Here) -> None:
    here.write(chunk_job(**numbers(100)))
    first = here.status()
    (here.folder / ".gristmill/job/output/_gristmill/manifest.json").unlink()
    assert here.status()["outputDigest"] == first["outputDigest"]
    assert here.results() == list(range(100))


def test_output_without_its_plan_is_begun_anew(here: Here) -> None:
    here.write(chunk_job(**numbers(100), output={"url": "out"}))
    first = here.status()
    (here.folder / "out/_gristmill/plan.json").unlink()
    assert "--fresh starts anew" in here.run("run", "job.yaml", code=2).stderr
    assert here.status("--fresh")["outputDigest"] == first["outputDigest"]


def test_an_output_that_another_run_has_changed_is_looked_at_again(here: Here) -> None:
    text = (
        "import os\n\ndef process(x):\n    if x == 3 and not os.path.exists('well'):\n"
        "        raise ValueError\n    return x\n"
    )
    job = chunk_job(**numbers(10), **source(text), output={"url": "out"}, failures={"tolerated": 1})
    here.write(job | {"metadata": {"name": "job"}})
    for state in ("a", "b"):
        assert here.status("--state", state)["items"]["failed"] == 1
    (here.folder / "well").touch()
    here.run("retry", "--state", "b")
    mended = here.status("--state", "b")
    assert mended["items"]["failed"] == 0
    status = here.status("--state", "a")
    assert (status["outputDigest"], status["items"]) == (mended["outputDigest"], mended["items"])
    assert here.run("failures", "--state", "a").stdout == "nothing failed\n"


def test_result_of_a_reduction_that_is_deleted_is_made_again(here: Here) -> None:
    text = "def process(x):\n    return x\n\ndef add(a, b):\n    return a + b\n"
    here.write(chunk_job(**numbers(100), **source(text), reduce={"function": "add"}))
    here.run("run", "job.yaml")
    (here.folder / ".gristmill/job/output/result.json").unlink()
    here.run("run", "job.yaml")
    assert here.results() == [4950]


def test_queue_that_is_gone_is_made_anew_of_a_complete_output(here: Here) -> None:
    text = "def process(x):\n    if x == 3:\n        raise ValueError\n    return x\n"
    here.write(chunk_job(**numbers(10, 5), **source(text), retry={"attempts": 1}, failures={"tolerated": 1}))
    digest = here.status()["outputDigest"]
    shutil.rmtree(here.folder / ".gristmill/job/queue")
    assert "run the job again" in here.run("failures", code=2).stderr
    status = here.status()
    assert (status["outputDigest"], status["items"]["failed"]) == (digest, 1)
    assert json.loads(here.run("failures", "--json").stdout)["item"] == 3
    assert "1 dead letter opened again" in here.run("retry").stdout
    assert here.status()["outputDigest"] == digest


@pytest.mark.parametrize("deed", ["written", "added", "deleted"])
def test_input_that_changed_under_a_complete_run_is_refused(here: Here, deed: str) -> None:
    folder = here.folder / "in"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_text(f"{name}\n")
    here.write(chunk_job(input={"lines": {"url": "in"}}))
    here.run("run", "job.yaml")
    name = "b" if deed == "deleted" else "c" if deed == "added" else "a"
    if deed == "deleted":
        (folder / name).unlink()
    else:
        (folder / name).write_text("new\n")
    told = here.run("run", "job.yaml", code=2).stderr
    assert f"in/{name}" in told
    assert "--fresh starts anew" in told
    here.run("run", "job.yaml", "--fresh")
    assert here.results() == {"written": ["new", "b"], "added": ["a", "b", "new"], "deleted": ["a"]}[deed]


def test_state_folder_may_be_moved(here: Here) -> None:
    here.write(chunk_job())
    first = here.status("--state", "old")
    (here.folder / "old").rename(here.folder / "new")
    assert here.results("--state", "new") == list(range(10))
    assert here.status("--state", "new")["outputDigest"] == first["outputDigest"]
    assert here.status("--state", "new")["output"] == str(here.folder / "new" / "output")


def test_long_state_path(here: Here) -> None:
    here.write(chunk_job())
    state = here.folder / ("long-" * 30) / ("name-" * 20)
    here.run("run", "job.yaml", "--state", str(state))
    assert here.results("--state", str(state)) == list(range(10))
    assert "Complete" in here.run("get", "--state", str(state)).stdout
