"""Rigs and calm runs. A test marked `chaos` is run by `make chaos` only; the others are a sample, for `make test`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.chaos import jobs
from tests.chaos.rig import ROUNDS, SEED, Rig


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        seeds = range(SEED, SEED + ROUNDS)
        metafunc.parametrize("seed", seeds, ids=[f"seed={seed}" for seed in seeds])


@pytest.fixture
def rig(tmp_path: Path, seed: int) -> Iterator[Rig]:
    rig = Rig(tmp_path, seed=seed)
    yield rig
    rig.end_all()


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """The status of a run of a kind of job that nothing is done to."""
    known: dict[str, dict[str, Any]] = {}

    def of(kind: str) -> dict[str, Any]:
        if kind not in known:
            rig = Rig(tmp_path_factory.mktemp("calm"))
            rig.prepare(jobs.job(kind))
            known[kind] = status = rig.complete()
            rig.check(kind, status, status)
        return known[kind]

    return of
