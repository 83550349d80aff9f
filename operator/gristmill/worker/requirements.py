"""`process.pip`: installed in a worker's own pod, only looked for on somebody's machine.

A pod's file system is thrown away with it, and its root is read-only: packages go to a folder below HOME. Elsewhere
an environment is its owner's, and nothing is installed behind their back.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from gristmill.errors import LoadError

#: set in a worker's pod
INSTALL = "GRISTMILL_INSTALL"
_TAIL = 2000
#: NAME[EXTRA] @ URL; MARKER
_NAMED_URL = re.compile(r"(?P<name>[\w.-]+\s*(\[[^]]*\])?)\s*@\s*\S+(?P<marker>\s+;.*)?")
#: ends of the names of files that pip installs (its own `utils.filetypes`)
_ARCHIVES = (
    *(".whl", ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz"),
    *(".tar.xz", ".txz", ".tlz", ".tar.lz", ".tar.lzma"),
)


def provide(requirements: list[str]) -> None:
    """See that what a job requires can be imported; LoadError says what to do, and what pip says."""
    if not requirements:
        return
    if os.environ.get(INSTALL):
        folder = Path.home() / ".gristmill" / "packages"
        _pip(["install", "--quiet", "--target", str(folder), *requirements], "pip failed")
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
        return
    for requirement in requirements:
        looked_for = _without_url(requirement)
        if not looked_for:
            continue
        _pip(
            ["install", "--quiet", "--dry-run", "--no-index", "--no-deps", looked_for],
            f"{requirement} is not installed here; {_how_to_install(requirement)}",
        )


def _without_url(requirement: str) -> str:
    """Return what is looked for: pip would fetch and build what has a URL. "" where only that would tell its name."""
    if named := _NAMED_URL.fullmatch(requirement.strip()):
        return named["name"] + (named["marker"] or "")
    place = requirement.partition(";")[0].partition("[")[0].strip()
    return "" if "/" in place or place.lower().endswith(_ARCHIVES) else requirement


def _pip(arguments: list[str], sentence: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    # (what is asked changes nothing in an environment that belongs to the system, though some pips think so)
    environment = {**os.environ, "PIP_BREAK_SYSTEM_PACKAGES": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if not done.returncode:
        return
    said = (done.stderr or done.stdout).strip()
    if said.endswith("No module named pip"):
        where = "the workers' image" if os.environ.get(INSTALL) else sys.executable
        sentence = (
            f"{where} has no pip, which installs packages and finds what is installed; "
            f"add it (`{sys.executable} -m ensurepip`), or have the packages there and leave spec.process.pip out"
        )
    raise LoadError(f"spec.process.pip: {sentence}\n{said[-_TAIL:]}")


def _how_to_install(requirement: str) -> str:
    if sys.prefix == sys.base_prefix and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists():
        return (
            "this Python belongs to the system, where pip installs nothing: make an environment with "
            f"`{sys.executable} -m venv`, install gristmill and {requirement!r} there, and run the job from it"
        )
    return f"`{sys.executable} -m pip install {requirement!r}` brings it"
