"""The processes of a run, found in /proc: by a mark in their environment, or by a parent that has it.

A runner may start processes that outlive it and are nobody's children, and a server may overwrite its
environment, so neither mark nor ancestry is enough alone.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

MARK = "BENCHMARK_RUN"
#: in the command of a keeper, and of all that is forked from it
KEEPER = "gristmill.local.keeper"


@dataclass(frozen=True)
class Process:
    """What /proc says about a process."""

    pid: int
    parent: int
    command: str
    #: the most memory it ever had resident, in bytes (the kernel's own high-water mark)
    peak_bytes: int
    marked: bool


def new_mark() -> str:
    """Return a mark that no other run has; it goes into the environment as `MARK`."""
    return uuid.uuid4().hex


def find(mark: str) -> list[Process]:
    """Return the processes that carry the mark, and all their descendants."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (process := _read(Path(entry.path), mark)):
            found[process.pid] = process
    return [process for process in found.values() if _belongs(process, found)]


def by_role(mark: str, without: int) -> dict[str, list[Process]]:
    """Return the processes of a run by what they are; `without`: the process that asks, and measures."""
    found = {process.pid: process for process in find(mark) if process.pid != without}
    roles: dict[str, list[Process]] = {}
    for process in found.values():
        roles.setdefault(_role(process, found), []).append(process)
    return roles


def _role(process: Process, found: dict[int, Process]) -> str:
    """Tell by the command, and for what was forked from the keeper by how far below it is."""
    if "valkey" in process.command or "redis" in process.command:
        return "server"
    depth, above = 0, process
    while KEEPER in above.command:
        depth += 1
        if above.parent not in found:
            break
        above = found[above.parent]
    return ("runner", "keeper", "supervisor", "child")[min(depth, 3)]


def _belongs(process: Process, found: dict[int, Process]) -> bool:
    seen: Process | None = process
    while seen is not None:
        if seen.marked:
            return True
        seen = found.get(seen.parent)
    return False


def _read(folder: Path, mark: str) -> Process | None:
    try:
        lines = (folder / "status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        if "VmHWM" not in fields:
            return None
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        marked = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes()
    except (OSError, ValueError):
        # it ended meanwhile, or is another user's
        return None
    peak = int(fields["VmHWM"].split()[0]) * 1024
    return Process(int(folder.name), int(fields["PPid"]), command, peak, marked)
