"""Rounds: every side in turn (A B A B …), each measurement in a process of its own, its leftovers removed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import processes, quiet

ROOT = Path(__file__).resolve().parent.parent
#: a measurement that takes longer is a failure
TIMEOUT_SECONDS = 600


#: the share of the processors that others took, for each measurement so far
disturbances: list[float] = []


@dataclass(frozen=True)
class Options:
    """How much to do."""

    rounds: int
    quick: bool
    #: seconds that a measurement waits for a quiet machine
    patience: float = 0

    def pick(self, full: int, quick: int) -> int:
        """Return the size of the work."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Side:
    """Something that is measured: a function of this package and its arguments."""

    variant: str
    #: "module:function" below `benchmarks`; it returns numbers by name
    function: str
    arguments: Mapping[str, Any]
    #: a package that must be there
    needs: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    #: whether the system counts the time of all its processes (not where a daemon ignores its children's end)
    accounted: bool = True


@dataclass
class Series:
    """What a side measured in each round, or why it could not."""

    rounds: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""

    def __getitem__(self, number: str) -> list[float]:
        return [numbers[number] for numbers in self.rounds]


def alternate(name: str, sides: Sequence[Side], options: Options) -> list[Series]:
    """Measure all sides, in turns, as often as there are rounds. One that fails is not tried again."""
    all_series = [Series() for _ in sides]
    for number in range(options.rounds):
        for side, series in zip(sides, all_series, strict=True):
            if series.problem:
                continue
            tell(f"{name}: {side.variant}, round {number + 1} of {options.rounds}")
            quiet.wait_for_quiet(options.patience)
            before = quiet.Usage.now()
            try:
                series.rounds.append(measure(side))
                taken = quiet.Usage.now().others_since(before)
                note = ""
                if side.accounted:
                    disturbances.append(taken)
                    note = f" (others took {taken:.0%} of the machine)" if taken > quiet.TOLERATED else ""
                tell(f"    {_short(series.rounds[-1])}{note}")
            except MeasurementError as error:
                series.problem = str(error)
                tell(f"    {error}")
    return all_series


class MeasurementError(Exception):
    """A side could not be measured; the message is one line."""


def measure(side: Side) -> dict[str, Any]:
    """Run one measurement and return its numbers."""
    if side.needs and importlib.util.find_spec(side.needs) is None:
        raise MeasurementError(f"{side.needs} is not installed")
    mark = processes.new_mark()
    command = [sys.executable, "-m", "benchmarks.measure", side.function, json.dumps(dict(side.arguments))]
    environment = {**os.environ, **side.environment, processes.MARK: mark, "PYTHONPATH": _path()}
    try:
        done = subprocess.run(  # noqa: PLW1510 (the exit code is looked at)
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"it took longer than {TIMEOUT_SECONDS} s") from None
    finally:
        end_all(mark)
    if done.returncode:
        raise MeasurementError(f"failed: {_last_line(done.stderr)[-200:]}")
    numbers: dict[str, Any] = json.loads(_last_line(done.stdout))
    return numbers


def end_all(mark: str) -> None:
    """Kill what a measurement left behind, so that it does not disturb the next."""
    deadline = time.monotonic() + 2
    quiet.bury_orphans()
    while left := processes.find(mark):
        if time.monotonic() > deadline:
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.05)
        quiet.bury_orphans()
    quiet.bury_orphans()


def tell(line: str) -> None:
    """Show what is going on, on stderr: stdout is for rows."""
    print(line, file=sys.stderr, flush=True)


def _path() -> str:
    """The caller's PYTHONPATH, and these benchmarks, whose functions the workers import."""
    return os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no output"


def _short(numbers: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:,.4g}" for name, value in numbers.items() if isinstance(value, int | float)
    )
