"""What a state folder stands: a file that is no JSON, a home folder, two who look at once."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from tests.builders import chunk_job, numbers, source
from tests.conftest import Until
from tests.local.conftest import Here

import gristmill
from gristmill.api.manifest import load_manifest
from gristmill.errors import GristmillError, UsageError
from gristmill.local import hosts, runner, turns
from gristmill.local.place import LocalJob
from gristmill.local.state import Lock, State, StoredJob
from gristmill.protocol.client import Queue


def test_a_job_file_that_cant_be_read_does_not_stop_a_fresh_start(here: Here) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml")
    (here.folder / ".gristmill/job/job.json").write_text("{")
    assert "can't be read" in here.run("run", "job.yaml", code=2).stderr
    here.run("run", "job.yaml", "--fresh")
    assert here.results() == list(range(10))


@pytest.mark.parametrize("command", [("run", "job.yaml"), ("run", "job.yaml", "--fresh")])
def test_a_folder_of_other_files_is_no_state_folder(here: Here, command: tuple[str, ...]) -> None:
    here.write(chunk_job())
    (here.folder / "mine").mkdir()
    (here.folder / "mine" / "thesis.txt").touch()
    (here.folder / "mine" / "job.json").touch()  # (a manifest may be called so)
    for folder in (".", "mine"):
        done = here.run(*command, "--state", folder, code=2)
        assert "holds files that no run left there" in done.stderr
    assert {path.name for path in here.folder.rglob("*")} == {"job.yaml", "mine", "thesis.txt", "job.json"}


def test_a_fresh_start_removes_what_runs_have_left_and_nothing_else(here: Here) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml", "--state", "s")
    (here.folder / "s" / "notes.txt").touch()
    (here.folder / "s" / "output" / "notes.txt").touch()
    here.run("run", "job.yaml", "--state", "s", "--fresh")
    assert (here.folder / "s" / "notes.txt").exists()
    assert here.run("results", "--state", "s").stdout.split() == [str(x) for x in range(10)]


@pytest.mark.parametrize("content", ["", "{", '"x"', '{"a": 1}'])
@pytest.mark.parametrize("name", ["job.json", "status.json"])
def test_a_file_that_can_not_be_read_is_named_with_the_way_out(here: Here, name: str, content: str) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml", "--state", "s")
    (here.folder / "s" / name).write_text(content)
    done = here.run("run", "job.yaml", "--state", "s", code=2)
    assert f"{name} can't be read" in done.stderr
    assert "--fresh` starts anew" in done.stderr
    here.run("run", "job.yaml", "--state", "s", "--fresh")


@pytest.mark.parametrize("kind", ["lines", "files"])
@pytest.mark.parametrize(
    ("url", "refused", "taken"),
    [
        ("in", ["in", "in/s", "link/s"], ["in/.s", "s"]),
        ("link", ["in/s", "link/s"], ["in/.s", "s"]),
        ("in/**/*.txt", ["in/s", "in/.s", "link/sub/s"], ["in/.gristmill/s", "s"]),
        ("link/**", ["in/s"], ["s"]),
        ("in/*/*.txt", ["in/s"], ["in/sub/s", "s"]),
        ("*/*.txt", ["s"], ["in/sub/s"]),
        ("i[n]/*.txt", [], ["in/s", "s"]),
        ("in/a.txt", [], ["in/s", "s"]),
    ],
)
def test_a_state_folder_that_is_read_as_input_is_refused(
    tmp_path: Path, kind: str, url: str, refused: list[str], taken: list[str]
) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_text("a\n")
    (tmp_path / "link").symlink_to("in")
    manifest = load_manifest(chunk_job(input={kind: {"url": url}}))

    def start(folder: str) -> None:
        runner.start(manifest, tmp_path, State(tmp_path / folder), 1).cancel(now=True)

    for folder in refused:
        with pytest.raises(UsageError, match=f"{folder} is in the input .*; choose another --state"):
            start(folder)
    for folder in taken:
        start(folder)


def test_what_is_run_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, dict[str, Any]]] = []

    def fsync(handle: int) -> None:
        (draft,) = tmp_path.iterdir()
        assert os.path.samestat(os.fstat(handle), draft.stat())
        synced.append((draft.name == "job.json", json.loads(draft.read_bytes())))

    monkeypatch.setattr(os, "fsync", fsync)
    job = StoredJob("uid", 1, {"output": ""})
    State(tmp_path).save(job)
    assert synced == [(False, asdict(job))]


@pytest.mark.parametrize("state", ["", 3])
def test_what_is_no_path_is_no_state_folder(here: Here, monkeypatch: pytest.MonkeyPatch, state: Any) -> None:
    monkeypatch.chdir(here.folder)
    with pytest.raises(UsageError, match="state: must be the path of a folder"):
        gristmill.run(chunk_job(), state=state)


def test_what_can_not_be_written_is_told_with_its_path_and_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "job.json").mkdir()
    with pytest.raises(
        GristmillError, match=f"{tmp_path}/job.json can't be written: Is a directory; mend that"
    ):
        State(tmp_path).save(StoredJob("uid", 1, {"output": ""}))
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


@pytest.mark.parametrize("output", [{}, {"output": {"url": "out"}}])
def test_a_state_folder_that_is_removed_ends_the_run_and_the_next_one_begins_anew(
    here: Here, until: Until, output: dict[str, Any]
) -> None:
    slow = source("import time\n\ndef process(x):\n    time.sleep(0.02)\n    return x\n")
    here.write(chunk_job(**numbers(400, 4), **slow, **output))
    process = here.start("run", "job.yaml", "--state", "s")
    place = here.folder / ("out" if output else "s/output")
    until(lambda: list(place.glob("part-*")))
    shutil.rmtree(here.folder / "s", ignore_errors=True)
    made_anew = here.folder / "s/output"  # (by a worker that has not yet noticed)
    made_anew.mkdir(parents=True, exist_ok=True)
    (made_anew / "part-00041.jsonl").write_text("7\n")
    words = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "the state folder" in words
    assert "was removed while the job ran: run it again" in words
    here.run("run", "job.yaml", "--state", "s")
    assert here.run("results", "--state", "s").stdout.split() == [str(x) for x in range(400)]


def test_what_a_user_put_where_a_run_was_is_not_removed_without_fresh(here: Here) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml", "--state", "s")
    (here.folder / "s/job.json").unlink()
    (here.folder / "s/output/notes.txt").touch()
    here.run("run", "job.yaml", "--state", "s")
    assert (here.folder / "s/output/notes.txt").exists()


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%41b", "new\nline", "sp ace", "ü"])
def test_a_state_folder_may_have_any_name(here: Here, name: str) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml", "--state", name)
    assert here.run("results", "--state", name).stdout.split() == [str(x) for x in range(10)]
    assert here.run("failures", "--state", name).stdout == "nothing failed\n"


def test_no_other_program_is_needed(here: Here) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml", env={**os.environ, "PATH": "/nowhere"})
    here.run("failures", env={**os.environ, "PATH": "/nowhere"})
    here.run("run", "job.yaml", "--fresh", env={**os.environ, "PATH": "/nowhere"})


def test_an_output_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    manifest = load_manifest(chunk_job(output={"url": "~/out"}))
    assert runner._context(manifest, tmp_path, "", False).output == "/home/somebody/out"


def test_who_looks_at_a_stopped_run_goes_on_when_another_who_does_has_ended(
    here: Here, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml")
    folder = here.folder / ".gristmill" / "job"
    entered, left = Event(), Event()
    refusals: list[int] = []
    take = Lock.take
    monkeypatch.setattr(Lock, "take", lambda lock: (refusals.append(take(lock)), refusals[-1])[1])

    def look() -> str:
        with hosts.open_queue(State(folder)) as queue:
            entered.set()
            assert left.wait(60)
            return str(queue.status()["job"]["phase"])

    with ThreadPoolExecutor() as pool:
        with hosts.open_queue(State(folder)):
            assert not LocalJob(State(folder)).is_live()
            refusals.clear()
            other = pool.submit(look)
            until(lambda: entered.is_set() or sum(map(bool, refusals)) >= 3)
        left.set()
        assert other.result(60) == "complete"


def test_who_looks_at_a_stopped_run_waits_for_another_who_does(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml")
    folder = here.folder / ".gristmill" / "job"
    other = State(folder).runner_lock
    assert not other.take()
    holder = Lock.holder
    monkeypatch.setattr(Lock, "holder", lambda lock: (other.release(), holder(lock))[1])
    with hosts.open_queue(State(folder)) as queue:
        assert queue.status()["job"]["phase"] == "complete"


class Looker:
    """Who looks at a stopped run: it holds both locks, and may be frozen."""

    def __init__(self, folder: Path) -> None:
        self.state = State(folder)
        assert turns.take_to_look(self.state)

    def end(self) -> None:
        turns.leave(self.state)


def test_a_run_waits_for_who_looks_at_it(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    path = here.write(chunk_job())
    here.run("run", "job.yaml")
    folder = here.folder / ".gristmill" / "job"
    looker = Looker(folder)
    holder = Lock.holder

    def ending(lock: Lock) -> int:
        pid = holder(lock)
        looker.end()
        return pid

    monkeypatch.setattr(Lock, "holder", ending)
    monkeypatch.chdir(here.folder)
    manifest, base = runner.load(path)
    with runner.start(manifest, base, State(folder), 1) as run:
        assert run.wait(60)["state"] == "Complete"


def test_who_has_just_stopped_looking_is_not_taken_for_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looker = Looker(tmp_path)
    holder = Lock.holder

    def ending(lock: Lock) -> int:
        if lock.path.name == "reader.lock":
            looker.end()
        return holder(lock)

    monkeypatch.setattr(Lock, "holder", ending)
    state = State(tmp_path)
    assert not turns.take_run(state)
    state.runner_lock.release()


def test_a_run_that_goes_on_is_not_waited_for(here: Here) -> None:
    path = here.write(chunk_job())
    here.run("run", "job.yaml")
    folder = here.folder / ".gristmill" / "job"
    other = State(folder)
    assert not other.runner_lock.take()
    manifest, base = runner.load(path)
    with pytest.raises(UsageError, match=f"is run by process {os.getpid()} already"):
        runner.start(manifest, base, State(folder), 1)
    other.runner_lock.release()


@pytest.mark.parametrize("command", ["look", "run"])
def test_who_is_frozen_while_it_looks_is_named_and_not_waited_for_for_ever(
    here: Here, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    path = here.write(chunk_job())
    here.run("run", "job.yaml")
    folder = here.folder / ".gristmill" / "job"
    looker = Looker(folder)
    monkeypatch.setattr(turns, "_SAID_SECONDS", -1.0)
    monkeypatch.setattr(turns, "_MOST_SECONDS", 0.2)
    manifest, base = runner.load(path)
    sentence = f"process {os.getpid()} has been looking at the run in .*`kill -9 {os.getpid()}`"

    def begin() -> None:
        if command == "run":
            runner.start(manifest, base, State(folder), 1)
        with hosts.open_queue(State(folder)):
            pass

    with pytest.raises(UsageError, match=sentence):
        begin()
    assert [f"waiting for process {os.getpid()}, " in record.message for record in caplog.records] == [True]
    looker.end()


def test_each_who_looks_is_given_its_own_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(turns.time, "monotonic", lambda: now)
    monkeypatch.setattr(turns.time, "sleep", lambda seconds: None)
    turn = turns._Turn(State(tmp_path))
    for looker in (11, 12, 13):
        turn.wait(looker)
        now += turns._MOST_SECONDS
        turn.wait(looker)
    now += 0.1
    with pytest.raises(UsageError, match="process 13 has been looking"):
        turn.wait(13)


def test_who_finds_that_the_run_has_just_stopped_leaves_no_connection(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml")
    state = State(here.folder / ".gristmill" / "job")
    opened: list[Queue] = []
    exists, close = Queue.exists, Queue.close
    # (its server answers, as that of a run does)
    with hosts.open_queue(state), monkeypatch.context() as patched:
        patched.setattr(Queue, "exists", lambda queue: (opened.append(queue), exists(queue))[1])
        patched.setattr(Queue, "close", lambda queue: (opened.remove(queue), close(queue))[1])
        assert hosts._queue_of_run(state) is None  # for nobody runs it
    assert opened == []


def test_the_word_of_a_wait_is_on_stderr(here: Here) -> None:
    here.write(chunk_job())
    here.run("run", "job.yaml")
    looker = Looker(here.folder / ".gristmill" / "job")
    try:
        command = here.start("why", "0")
        assert command.stderr is not None
        assert command.stderr.readline() == (
            f"waiting for process {os.getpid()}, which looks at the run in .gristmill/job\n"
        )
    finally:
        looker.end()
    assert command.wait(60) == 0


def test_failures_of_a_complete_run_whose_queue_is_gone_are_there_after_another_run(here: Here) -> None:
    text = "def process(x):\n    return 1 / x\n"
    here.write(chunk_job(**numbers(4), **source(text), retry={"attempts": 1}, failures={"tolerated": 1}))
    here.run("run", "job.yaml")
    shutil.rmtree(here.folder / ".gristmill" / "job" / "queue")
    for command in (("failures",), ("why", "0"), ("retry",)):
        assert "has lost its memory; run the job again" in here.run(*command, code=2).stderr
    here.run("run", "job.yaml")
    assert "ZeroDivisionError" in here.run("failures").stdout
