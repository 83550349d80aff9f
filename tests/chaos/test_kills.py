"""The runner, the keeper, the server, or all of them are killed; the queue and the output lose files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.builders import source
from tests.chaos import jobs
from tests.chaos.rig import DEADLINE, Rig, kill

Calm = Callable[[str], dict[str, Any]]

chaos = pytest.mark.chaos
kinds = pytest.mark.parametrize("kind", ["lines", "reduce", "files"])

#: a server that dies more often within a minute is given up
SERVER_KILLS = 4
KEEPER_KILLS = 4


@chaos
@kinds
@pytest.mark.parametrize("durability", ["everysec", "always"])
def test_server_killed_again_and_again(rig: Rig, calm: Calm, kind: str, durability: str) -> None:
    kill_servers(rig, calm, kind, SERVER_KILLS, durability=durability)


def test_sample_of_killed_servers(rig: Rig, calm: Calm) -> None:
    kill_servers(rig, calm, "lines", 2)


@chaos
@kinds
def test_keeper_killed_again_and_again(rig: Rig, calm: Calm, kind: str) -> None:
    expected = calm(kind)
    rig.prepare(jobs.job(kind))
    process = rig.go()
    for _ in range(KEEPER_KILLS):
        if not wait_for_progress(rig, process):
            break
        kill(rig.keeper())
    rig.check(kind, rig.end(process), expected)


@chaos
@pytest.mark.parametrize("how", ["runner", "keeper and runner", "everything", "ctrl-c", "terminate"])
@kinds
def test_stopped_and_run_again(rig: Rig, calm: Calm, kind: str, how: str) -> None:
    stop_and_go_on(rig, calm, kind, how, times=3)


def test_sample_of_stopped_runs(rig: Rig, calm: Calm) -> None:
    stop_and_go_on(rig, calm, "lines", rig.random.choice(["everything", "ctrl-c"]), times=1)


@chaos
@kinds
def test_runner_and_frozen_worker(rig: Rig, calm: Calm, kind: str) -> None:
    """A worker that was frozen before the runner was killed must not live on beside the next run."""
    expected = calm(kind)
    rig.prepare(jobs.job(kind))
    rig.order("supervisor.leased=stop@5", 1)
    process = rig.go()
    rig.until(rig.struck)
    process.kill()
    process.communicate()
    rig.check(kind, rig.complete(), expected)


@chaos
@kinds
def test_keeper_and_frozen_worker(rig: Rig, calm: Calm, kind: str) -> None:
    expected = calm(kind)
    rig.prepare(jobs.job(kind))
    rig.order("supervisor.leased=stop@5", 1)
    process = rig.go()
    rig.until(rig.struck)
    kill(rig.keeper())
    rig.check(kind, rig.end(process), expected)


@chaos
def test_queue_deleted_between_runs(rig: Rig, calm: Calm) -> None:
    expected = calm("lines")
    counting(rig)
    stop(rig, rig.go(), "everything")
    shutil.rmtree(rig.state / "queue")
    finish_without_repeating(rig, expected)


@chaos
@pytest.mark.parametrize("killed", [False, True])
def test_queue_deleted_while_it_runs(rig: Rig, calm: Calm, killed: bool) -> None:
    expected = calm("lines")
    counting(rig)
    process = rig.go()
    assert wait_for_progress(rig, process)
    server = rig.server()
    shutil.rmtree(rig.state / "queue")
    if killed:
        kill(server)
    rig.check("lines", rig.end(process), expected)
    few_repeated(rig)


def test_state_deleted_and_moved(rig: Rig, calm: Calm) -> None:
    """The output alone is enough to go on: from another state folder, or another machine."""
    expected = calm("lines")
    counting(rig)
    stop(rig, rig.go(), "everything")
    shutil.rmtree(rig.state)
    rig.state = rig.folder / "elsewhere"
    finish_without_repeating(rig, expected)


@chaos
def test_parts_deleted_before_they_are_assembled(rig: Rig, calm: Calm) -> None:
    """Chunks whose parts are gone run again."""
    expected = calm("lines")
    counting(rig)
    rig.order("child.chore=stop~1", 2)  # the plan is made when the chore begins, so the second is an assembly
    process = rig.go()
    rig.until(lambda: len(rig.struck()) == 2 or wake(rig))
    parts = list((rig.output / "_gristmill" / "parts").rglob("*.part"))
    assert parts
    for part in parts:
        with suppress(FileNotFoundError):
            part.unlink()
    while process.poll() is None:
        wake(rig)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    rig.check("lines", rig.end(process), expected)
    assert max(Counter(calls(rig)).values()) > 1


@chaos
def test_blocks_deleted_while_it_runs(rig: Rig, calm: Calm) -> None:
    """Final blocks that disappear are found missing at the end, and made again."""
    expected = calm("lines")
    counting(rig)
    rig.order("supervisor.leased=stop@20", 1)  # not before the blocks are gone is the job done
    process = rig.go()
    rig.until(rig.struck)
    gone = rig.random.sample(sorted(rig.output.glob("part-*.jsonl")), 3)
    for path in gone:
        path.unlink()
    wake(rig)
    rig.check("lines", rig.end(process), expected)
    again = {x // jobs.BLOCK for x, times in Counter(calls(rig)).items() if times > 1}
    assert {int(path.stem.removeprefix("part-")) for path in gone} <= again


# -- what is done


def kill_servers(rig: Rig, calm: Calm, kind: str, times: int, **spec: Any) -> None:
    expected = calm(kind)
    rig.prepare(jobs.job(kind, **spec))
    process = rig.go()
    for _ in range(times):
        if not wait_for_progress(rig, process):
            break
        kill(rig.server())
    rig.check(kind, rig.end(process), expected)


def stop_and_go_on(rig: Rig, calm: Calm, kind: str, how: str, times: int) -> None:
    expected = calm(kind)
    rig.prepare(jobs.job(kind))
    while times and not rig.is_written():
        stop(rig, rig.go(), how)
        times -= 1
    rig.check(kind, rig.complete(), expected)


def stop(rig: Rig, process: subprocess.Popen[str], how: str) -> None:
    """Stop a run in the middle."""
    if not wait_for_progress(rig, process):
        rig.end(process)
        return
    if how in ("ctrl-c", "terminate"):
        process.send_signal(signal.SIGINT if how == "ctrl-c" else signal.SIGTERM)
        process.communicate(timeout=DEADLINE)
        assert process.returncode == 130 or rig.is_written()
        rig.nothing_runs()
        return
    keeper = rig.keeper()  # (it may end by itself, now)
    if how == "everything":
        with suppress(ProcessLookupError):
            os.killpg(keeper, signal.SIGKILL)
    elif how == "keeper and runner":
        kill(keeper)
    process.kill()
    process.communicate()


def wait_for_progress(rig: Rig, process: subprocess.Popen[str]) -> bool:
    """Wait until a random number of blocks more are complete; False when the run has ended before."""
    wanted = len(rig.blocks()) + rig.random.randint(1, jobs.NUMBERS // jobs.BLOCK // 8)
    rig.until(lambda: len(rig.blocks()) >= wanted or process.poll() is not None or rig.is_written())
    return process.poll() is None and not rig.is_written()


def wake(rig: Rig) -> None:
    for _, action, pid in rig.struck():
        if action == "stop":
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def counting(rig: Rig) -> None:
    """Prepare the job of lines with a function that counts its calls."""
    rig.prepare(
        jobs.job("lines", **source(jobs.text("lines", counted=True))), CALLS=str(rig.folder / "calls")
    )


def calls(rig: Rig) -> list[int]:
    return [int(line) for line in (rig.folder / "calls").read_text().split()]


def finish_without_repeating(rig: Rig, expected: dict[str, Any]) -> None:
    """Run to the end; what was in complete blocks is not run again."""
    blocks = {int(name.removesuffix(".json")) for name in rig.blocks()}
    assert blocks
    before = len(calls(rig))
    rig.check("lines", rig.complete(), expected)
    again = {x // jobs.BLOCK for x in calls(rig)[before:]}
    assert not blocks & again


def few_repeated(rig: Rig) -> None:
    """What was finished was not run again: only what was in flight, or not yet in a part."""
    counts = Counter(calls(rig))
    assert len(counts) == jobs.NUMBERS
    assert sum(counts.values()) < jobs.NUMBERS * 1.25
