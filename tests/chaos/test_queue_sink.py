"""Results kept in the queue: all of them, in order, each once, whatever dies while they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.chaos import jobs
from tests.chaos.rig import Rig, kill, pid_in

import gristmill
from gristmill.errors import GristmillError
from gristmill.local import runner


@pytest.fixture
def folder(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the state of a run without a state folder is."""
    place = rig.folder / "temporary"
    place.mkdir()
    monkeypatch.setattr(runner.tempfile, "mkdtemp", lambda prefix: str(place))
    name, _, value = rig.mark.partition("=")
    for key, text in {**rig.haste(), name: value, "GRISTMILL_FAULTS": str(rig.faults)}.items():
        monkeypatch.setenv(key, text)
    return place


@pytest.mark.chaos
@pytest.mark.parametrize("durability", ["everysec", "always"])
@pytest.mark.parametrize("victims", [["server"], ["keeper"], ["server", "keeper"]])
def test_results_survive(rig: Rig, folder: Path, durability: str, victims: list[str]) -> None:
    read_while_killing(rig, folder, victims, 4, durability=durability)


@pytest.mark.chaos
@pytest.mark.parametrize(
    "orders",
    ["supervisor.after_report=kill~0.1", "supervisor.before_report=kill~0.1", "child.computed=kill~0.02"],
)
def test_results_survive_workers(
    rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch, orders: str
) -> None:
    monkeypatch.setenv("GRISTMILL_FAILPOINTS", orders)
    monkeypatch.setenv("GRISTMILL_FAULTS_MOST", "8")
    monkeypatch.setenv("GRISTMILL_FAULTS_SEED", str(rig.seed))
    read_while_killing(rig, folder, [], 0)
    assert rig.struck()


def test_sample_of_results_that_survive(rig: Rig, folder: Path) -> None:
    read_while_killing(rig, folder, ["server"], 1)


def read_while_killing(rig: Rig, folder: Path, victims: list[str], times: int, **spec: Any) -> None:
    manifest = jobs.job("lines", **spec)
    del manifest["spec"]["output"]
    strikes = sorted(rig.random.sample(range(jobs.NUMBERS), times))
    got = []
    with gristmill.run(manifest, workers=2) as run:
        for result in run.results():
            got.append(result)
            if strikes and len(got) > strikes[0]:
                strikes.pop(0)
                path = {"server": folder / "queue" / "server.pid", "keeper": folder / "keeper.lock"}
                kill(pid_in(path[rig.random.choice(victims)]))
        assert run.status["state"] == "Complete"
    assert got == jobs.expected("lines")
    rig.nothing_runs()


@pytest.mark.chaos
def test_keeper_that_always_dies_is_told_and_leaves_nothing(rig: Rig, folder: Path) -> None:
    with pytest.raises(GristmillError, match="the keeper of the run ended with code -9"):
        kill_each_keeper(folder)
    rig.nothing_runs()


def kill_each_keeper(folder: Path) -> None:
    manifest = jobs.job("lines")
    del manifest["spec"]["output"]
    killed = 0
    with gristmill.run(manifest, workers=2) as run:
        while run.status["state"] != "Complete":
            keeper = pid_in(folder / "keeper.lock")
            if keeper != killed:
                kill(keeper)
                killed = keeper
