"""Gristmill's side, by the command line: whole processes, as people start them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from benchmarks import processes
from benchmarks.ours import manifest

#: runs the command line in this process, and lists what it has imported when it ends
_LIST_IMPORTS = """
import runpy, sys
listing = sys.argv.pop(1)
try:
    runpy.run_module("gristmill", run_name="__main__", alter_sys=True)
finally:
    names = [name for name, module in sys.modules.items() if getattr(module, "__spec__", None)]
    with open(listing, "w") as file:
        file.write("\\n".join(names))
"""
#: imports what was listed, in the same order
_IMPORT = """
import importlib, sys
for name in open(sys.argv[1]).read().splitlines():
    importlib.import_module(name)
"""


def cold_start() -> dict[str, float]:
    """Run a job of ten chunks, and in another process only import what that imported.

    The first run, which lists the imports, warms the disk's cache for both.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = _command(Path(folder), manifest({"range": {"stop": 10}}, {"size": 1}))
        listing = str(Path(folder) / "imports")
        _seconds(["-c", _LIST_IMPORTS, listing, *command])
        shutil.rmtree(Path(folder) / "state")
        imports = _seconds(["-c", _IMPORT, listing])
        run = _seconds(["-m", "gristmill", *command])
        return {"run": run, "imports": imports, "difference": run - imports}


def memory(items: int) -> dict[str, float]:
    """Write the results of so many items to an output URL; return each role's largest process, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        job = manifest({"range": {"stop": items}}, {"size": 1000}, output={"url": str(output)})
        run = subprocess.Popen(
            [sys.executable, "-m", "gristmill", *_command(Path(folder), job)], stdout=DEVNULL
        )
        peaks: dict[str, float] = {}
        while run.poll() is None:
            for role, found in processes.by_role(os.environ[processes.MARK], without=os.getpid()).items():
                peaks[role] = max([peaks.get(role, 0), *(process.peak_bytes / 2**20 for process in found)])
            time.sleep(0.1)
        if run.returncode:
            raise RuntimeError(f"the run ended with code {run.returncode}")
        lines = sum(_count_lines(path) for path in output.glob("part-*.jsonl"))
        if lines != items:
            raise AssertionError(f"{lines} lines for {items} items")
        return peaks


def _command(folder: Path, job: dict[str, Any]) -> list[str]:
    file = folder / "job.json"
    file.write_text(json.dumps(job))
    return ["run", str(file), "--workers", "2", "--state", str(folder / "state"), "--json"]


def _seconds(arguments: Sequence[str]) -> float:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], check=False, stdout=DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{arguments[1]} ended with code {done.returncode}")
    return time.perf_counter() - started


def _count_lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
