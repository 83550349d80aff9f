"""A folder to run jobs in, and the command line as users have it: a process, its exit code, its words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import PATIENCE


@dataclass
class Here:
    """A folder in which commands are run."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def write(self, manifest: dict[str, Any], name: str = "job.yaml") -> Path:
        path = self.folder / name
        path.write_text(json.dumps(manifest), encoding="utf-8")
        return path

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command; the test ends it, or the fixture does."""
        process = subprocess.Popen(
            [sys.executable, "-m", "gristmill", *words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        self.started.append(process)
        return process

    def run(self, *words: str, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command and check its exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "gristmill", *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            **options,
        )
        assert done.returncode == code, done
        return done

    def status(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run a job and return the final status."""
        return json.loads(self.run("run", "job.yaml", "--json", *words, code=code).stdout.splitlines()[-1])

    def results(self, *words: str) -> list[Any]:
        return [json.loads(line) for line in self.run("results", *words).stdout.splitlines()]

    def end_all(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            with suppress(OSError, ValueError):
                process.communicate()
        for lock in self.folder.rglob("keeper.lock"):
            end_group(int((lock.read_text().split() or ["0"])[0]))


def end_group(keeper: int) -> None:
    """Kill a keeper and all below it; nothing may outlive a test."""
    if keeper:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(keeper, signal.SIGKILL)


@pytest.fixture(autouse=True)
def _no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead but not yet waited for does not."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False)
    return told.stdout.strip()[:1] not in (b"", b"Z")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    folder = Here(tmp_path)
    yield folder
    folder.end_all()
