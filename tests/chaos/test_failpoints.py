"""Supervisors and children are killed and frozen at every step of their loop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.chaos import jobs
from tests.chaos.rig import Rig

from gristmill.worker.failpoints import NAMES

Calm = Callable[[str], dict[str, Any]]

#: seconds after which a lease of one second has certainly expired
LEASE_IS_OVER = 1.5
#: places that are passed a few times only, or once in the life of a process
RARE = {"supervisor.heartbeat", "child.chore", "child.chore_done"}
ONCE = {"supervisor.hello", "child.started"}

everywhere = pytest.mark.parametrize("name", NAMES)


@pytest.mark.chaos
@everywhere
def test_killed_once(rig: Rig, calm: Calm, name: str) -> None:
    strike(rig, calm, "lines", f"{name}=kill@{rig.random.randint(1, 1 if name in RARE | ONCE else 20)}", 1)


@pytest.mark.chaos
@everywhere
@pytest.mark.parametrize("kind", ["lines", "reduce", "files"])
def test_killed_now_and_then(rig: Rig, calm: Calm, name: str, kind: str) -> None:
    strike(rig, calm, kind, name + often(name, "kill"), 4 if name in RARE | ONCE else 12)


@pytest.mark.chaos
@everywhere
def test_frozen_until_the_lease_is_over(rig: Rig, calm: Calm, name: str) -> None:
    strike(rig, calm, "lines", name + often(name, "stop"), 3, wakes=True)


@pytest.mark.chaos
@everywhere
@pytest.mark.parametrize("most", [1, 2])
def test_frozen_for_ever(rig: Rig, calm: Calm, name: str, most: int) -> None:
    """One of two workers, or both: they are replaced."""
    strike(rig, calm, "lines", f"{name}=stop@1", most)


@pytest.mark.chaos
def test_everything_now_and_then(rig: Rig, calm: Calm) -> None:
    # (not where every new process would die: six such deaths in a row end a job)
    names = [name for name in NAMES if name not in ONCE]
    orders = "; ".join(name + often(name, rig.random.choice(["kill", "stop"])) for name in names)
    strike(rig, calm, "lines", orders, 12, wakes=True)


def test_sample_of_kills(rig: Rig, calm: Calm) -> None:
    strike(rig, calm, "lines", "child.published=kill~0.05; supervisor.after_report=kill~0.05", 6)


def test_sample_of_freezing(rig: Rig, calm: Calm) -> None:
    strike(rig, calm, "reduce", "supervisor.leased=stop@3", 1)


def often(name: str, action: str) -> str:
    """The order to do it at a place as often as a run can bear."""
    if name in ONCE:
        return f"={action}@1"
    return f"={action}~{0.5 if name in RARE else 0.1}"


def strike(rig: Rig, calm: Calm, kind: str, orders: str, most: int, *, wakes: bool = False) -> None:
    """Run a job with faults ordered; `wakes`: who is frozen goes on after its lease."""
    expected = calm(kind)
    rig.prepare(jobs.job(kind))
    rig.order(orders, most)
    process = rig.go()
    if wakes:
        wake_late(rig, lambda: process.poll() is None)
    rig.check(kind, rig.end(process), expected)
    assert rig.struck() or "~" in orders  # (a draw may spare them all)


def wake_late(rig: Rig, goes_on: Callable[[], bool]) -> None:
    """While the run goes on, wake each frozen process when its lease is over."""
    frozen: dict[int, float] = {}
    while goes_on():
        now = time.monotonic()
        for index, (_, action, _) in enumerate(rig.struck()):
            if action == "stop":
                frozen.setdefault(index, now)
        struck = rig.struck()
        for index, since in frozen.items():
            if since and now > since + LEASE_IS_OVER:
                with suppress(ProcessLookupError):
                    os.kill(struck[index][2], signal.SIGCONT)
                frozen[index] = 0.0
        time.sleep(0.02)
