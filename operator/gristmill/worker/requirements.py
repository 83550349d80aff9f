"""`process.pip`: installed in a worker's own pod, only looked for on somebody's machine.

A pod's file system is thrown away with it, and its root is read-only: packages go to a folder below HOME. Elsewhere
an environment is its owner's, and nothing is installed behind their back.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

from gristmill.errors import LoadError

#: set in a worker's pod
INSTALL = "GRISTMILL_INSTALL"
_TAIL = 2000


def provide(requirements: list[str]) -> None:
    """See that what a job requires can be imported; LoadError says what pip says."""
    if not requirements:
        return
    if os.environ.get(INSTALL):
        folder = Path.home() / ".gristmill" / "packages"
        _pip(["install", "--quiet", "--target", str(folder), *requirements], "spec.process.pip: pip failed")
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
        return
    for requirement in requirements:
        _pip(
            ["install", "--quiet", "--dry-run", "--no-index", "--no-deps", requirement],
            f"spec.process.pip: {requirement} is not installed here; `pip install {requirement!r}` brings it",
        )


def _pip(arguments: list[str], sentence: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadError(f"{sentence}\n{(done.stderr or done.stdout).strip()[-_TAIL:]}")
