"""A folder in which a job is run while something is done to it, and what must hold afterwards."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import jobs
from tests.local.conftest import Here

from gristmill.local.hosts import open_queue
from gristmill.local.state import State
from gristmill.planning.values import DeadLetter
from gristmill.sinks import read_manifest, read_results

#: the seed of all that is drawn; a failing test is repeated with the same
SEED = int(os.environ.get("GRISTMILL_CHAOS_SEED") or 0)
#: how often each fault is tried, with seeds that follow
ROUNDS = int(os.environ.get("GRISTMILL_CHAOS_ROUNDS") or 1)
#: seconds in which a run must end, whatever happened
DEADLINE = 100.0

_HASTE = {
    "GRISTMILL_LEASE_WORK_SECONDS": "0.1",
    "GRISTMILL_SLICE_SECONDS": "0.005",
    "GRISTMILL_PIECE_SECONDS": "0.02",
    "GRISTMILL_DRAIN_SECONDS": "2",
}
#: what is in the output folder of a complete job
_CLEAN = re.compile(
    r"part-\d{5}\.jsonl|chunk-\d{12}\.txt|result\.json"
    r"|_gristmill/(plan|manifest)\.json|_gristmill/code/[0-9a-f]{16}\.json|_gristmill/(blocks|values)/\d{5}\.json"
)


@dataclass
class Rig(Here):
    """See the module."""

    seed: int = SEED
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.state = self.folder / "state"
        self.output = self.folder / "out"
        self.faults = self.folder / "faults"
        self.faults.touch()
        #: what the last run told on its standard error
        self.told = ""
        #: in the environment of every process of this rig, so that those left over are found
        self.mark = f"GRISTMILL_RIG={self.folder}/"

    # -- running

    def prepare(self, manifest: dict[str, Any], **environment: str) -> None:
        """Write the manifest; `environment` is given to all commands that follow."""
        self.write(manifest)
        self.environment = environment

    @staticmethod
    def haste() -> dict[str, str]:
        """Settings that make many steps to strike at: short leases, slices and pieces."""
        return dict(_HASTE)

    def order(self, failpoints: str, most: int = 1_000_000) -> None:
        """Order faults for the commands that follow."""
        self.environment |= {
            "GRISTMILL_FAILPOINTS": failpoints,
            "GRISTMILL_FAULTS_MOST": str(most),
            "GRISTMILL_FAULTS_SEED": str(self.seed),
        }

    def go(self) -> subprocess.Popen[str]:
        """Start `gristmill run`."""
        name, _, value = self.mark.partition("=")
        given = {name: value, "GRISTMILL_FAULTS": str(self.faults), **self.haste(), **self.environment}
        words = ("run", "job.yaml", "--json", "--workers", "2", "--state", str(self.state))
        return self.start(*words, env={**os.environ, **given})

    def end(self, process: subprocess.Popen[str], code: int = 0) -> dict[str, Any]:
        """Wait for the end of a run, check its exit code and that nothing is left running; return the status."""
        try:
            out, err = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the run does not end\n{self.account()}") from None
        self.told = err
        assert process.returncode == code, f"exit code {process.returncode}: {err}\n{self.account()}"
        self.nothing_runs()
        return json.loads(out.splitlines()[-1]) if out else {}

    def complete(self) -> dict[str, Any]:
        """Run to the end."""
        return self.end(self.go())

    # -- looking

    def struck(self) -> list[tuple[str, str, int]]:
        """The faults so far: place, action, process."""
        rows = [line.split() for line in self.faults.read_text().splitlines()]
        return [(name, action, int(pid)) for name, action, pid in rows]

    def keeper(self) -> int:
        return pid_in(self.state / "keeper.lock")

    def server(self) -> int:
        return pid_in(self.state / "queue" / "server.pid")

    def blocks(self) -> list[str]:
        """The sidecars of complete blocks."""
        folder = self.output / "_gristmill" / "blocks"
        return sorted(os.listdir(folder)) if folder.exists() else []

    def is_written(self) -> bool:
        """Whether the output is complete."""
        return (self.output / "_gristmill" / "manifest.json").exists()

    def letters(self) -> list[DeadLetter]:
        """The dead letters of a run that has ended."""
        with open_queue(State(self.state)) as queue:
            return list(queue.dead_letters())

    def failed(self) -> Counter[int]:
        """How often each chunk was charged with a failure, as the history has it."""
        with open_queue(State(self.state)) as queue:
            return Counter(int(row["start"]) for _, row in queue.history() if row["what"] == "failed")

    def processes(self) -> dict[int, str]:
        """The processes of this rig that run, by their marked environment or command line."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                told = (path / "cmdline").read_bytes() + b"\0" + (path / "environ").read_bytes()
                if str(self.folder).encode() + b"/" in told and int(path.name) != os.getpid():
                    found[int(path.name)] = told.partition(b"\0\0")[0].replace(b"\0", b" ").decode()
        return found

    def until(self, condition: Callable[[], Any], seconds: float = DEADLINE) -> Any:
        """Wait until a condition holds, and return its value."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"it did not happen in time\n{self.account()}"
            time.sleep(0.005)
        return value

    def account(self) -> str:
        """What there is to say of a run that went wrong."""
        log = self.state / "keeper.log"
        return "\n".join(
            [
                f"seed {self.seed}, faults: {self.struck()}",
                f"processes: {self.processes()}",
                log.read_text(errors="replace")[-4000:] if log.exists() else "",
            ]
        )

    # -- what must hold

    def nothing_runs(self) -> None:
        """All processes of the run are gone, the killed ones as soon as the system has removed them."""
        end = time.monotonic() + 5
        while left := self.processes():
            assert time.monotonic() < end, f"left running: {left}\n{self.account()}"
            time.sleep(0.01)

    def check(self, kind: str, status: dict[str, Any], calm: dict[str, Any]) -> None:
        """The job is complete, with the very output of the calm run and nothing besides."""
        assert status["state"] == "Complete", status
        assert status["items"] == calm["items"]
        assert status["outputDigest"] == calm["outputDigest"]
        self.check_output(kind, status)
        assert [name for name in jobs.files_of(self.output) if not _CLEAN.fullmatch(name)] == []

    def check_output(self, kind: str, status: dict[str, Any]) -> None:
        """The manifest says the same, and the results are those expected."""
        manifest = read_manifest(str(self.output))
        assert manifest is not None
        assert manifest.digest == status["outputDigest"]
        results = jobs.expected(kind)
        if results is not None:
            dead = {chunk for entry in manifest.entries for chunk, _ in entry.dead}
            assert list(read_results(str(self.output))) == [r for i, r in enumerate(results) if i not in dead]

    def end_all(self) -> None:
        """Kill whatever a failed test has left."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.started:
            with suppress(OSError, ValueError):
                process.communicate()


def pid_in(path: Path) -> int:
    """The process that a file names, as soon as it does."""
    end = time.monotonic() + DEADLINE
    while not (path.exists() and (text := path.read_text())):
        assert time.monotonic() < end, f"{path} names no process"
        time.sleep(0.005)
    return int(text.split()[0])


def kill(pid: int) -> None:
    """Kill a process, if it has not ended meanwhile."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
