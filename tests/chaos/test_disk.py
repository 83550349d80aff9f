"""The output's disk is full: a clear failure, nothing lost; with room again the same job completes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.chaos import jobs
from tests.chaos.rig import Rig

Calm = Callable[[str], dict[str, Any]]


@pytest.fixture
def small(rig: Rig) -> Iterator[Path]:
    """A disk of 24 MiB, in the place of the output's folder."""
    disk = rig.folder / "small"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=24m,nr_inodes=100000", "tmpfs", str(disk)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(words, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    rig.output = disk / "out"
    yield disk
    rig.end_all()
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["reduce", "files"])
def test_full_disk_of_other_kinds(rig: Rig, small: Path, calm: Calm, kind: str) -> None:
    fill_and_free(rig, small, calm, kind)


def test_full_disk(rig: Rig, small: Path, calm: Calm) -> None:
    fill_and_free(rig, small, calm, "lines")


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("durability", "cause"),
    [
        ("everysec", "the queue does not answer: MISCONF Errors writing"),
        ("always", "the queue's server ended"),
    ],
)
def test_full_disk_of_the_queue(rig: Rig, small: Path, calm: Calm, durability: str, cause: str) -> None:
    """State and output on the same full disk: the queue can't even take down that the job fails."""
    expected = calm("lines")
    rig.state = small / "state"
    spec = {"output": {"url": str(rig.output)}, "durability": durability}
    rig.prepare(jobs.job("lines", **spec), GRISTMILL_RECONNECT_SECONDS="10")
    process = rig.go()
    rig.until(lambda: len(rig.blocks()) > 20)
    filler = small / "filler"
    fill(filler)
    rig.end(process, code=1)
    assert cause in rig.told
    filler.unlink()
    rig.check("lines", rig.complete(), expected)


def fill_and_free(rig: Rig, small: Path, calm: Calm, kind: str) -> None:
    expected = calm(kind)
    output = {"url": str(rig.output), **({"format": "files"} if kind == "files" else {})}
    rig.prepare(jobs.job(kind, output=output))
    process = rig.go()
    rig.until(lambda: len(rig.blocks()) > 20)
    filler = small / "filler"
    fill(filler)
    status = rig.end(process, code=1)
    reason = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert reason["reason"] == "OutputFailed"
    assert "No space left on device" in reason["message"]
    assert str(rig.output) in reason["message"]
    before = rig.blocks()
    filler.unlink()
    rig.check(kind, rig.complete(), expected)
    assert set(before) <= set(rig.blocks())


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
