"""What other processes are, so that a number is not taken for another process that has it now.

Linux tells in /proc; elsewhere `ps` does, which small images of Linux lack.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def command_of(pid: int) -> str:
    """Return the command line of a process, "" when it has ended."""
    if not _PROC.joinpath("self").exists():
        return next((command for _, command in _told("-p", str(pid))), "")
    with suppress(OSError):  # (it may end meanwhile)
        return _entry(pid)[1]
    return ""


def start_of(pid: int) -> str:
    """Return when a process started, in ticks since the machine did: no other has had its number then.

    "" when it has ended, and where there is no /proc.
    """
    with suppress(OSError):
        return _stat(pid)[19]
    return ""


def is_in_group(group: int, words: str) -> bool:
    """Whether a living process of a process group has these words in its command line."""
    return any(own == group and words in command for own, command in _living())


def descendants_of(pids: Collection[int]) -> list[int]:
    """Return the living processes that these have started, and those that they have, and so on: parents first."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found, seen = list(pids), set(pids)
    for pid in found:
        new = [child for child in children.get(pid, ()) if child not in seen]
        found += new
        seen |= {*new}
    return found[len(pids) :]


def _parents() -> Iterator[tuple[int, int]]:
    """Yield the numbers of all processes, and of their parents."""
    if not _PROC.joinpath("self").exists():
        told = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=False).stdout
        for line in told.splitlines():
            pid, parent = map(int, line.split())
            yield pid, parent
        return
    for name in os.listdir(_PROC):
        if name.isdecimal():
            with suppress(OSError):
                yield int(name), int(_stat(int(name))[1])


def _living() -> Iterator[tuple[int, str]]:
    """Yield process group and command line of all living processes."""
    if not _PROC.joinpath("self").exists():
        yield from _told("-A")
        return
    for name in os.listdir(_PROC):
        if name.isdecimal():
            with suppress(OSError):
                yield _entry(int(name))


def _entry(pid: int) -> tuple[int, str]:
    state, _, group = _stat(pid)[:3]
    words = (_PROC / str(pid) / "cmdline").read_bytes()
    return int(group), "" if state == "Z" else os.fsdecode(words.replace(b"\0", b" "))


def _stat(pid: int) -> list[str]:
    """Return STATE, PARENT, GROUP and what follows them in "PID (NAME) STATE …", where a name may hold anything."""
    return (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].decode().split()


def _told(*which: str) -> Iterator[tuple[int, str]]:
    words = ["ps", "-ww", "-o", "pgid=,stat=,command=", *which]
    told = subprocess.run(words, capture_output=True, check=False).stdout
    for line in os.fsdecode(told).splitlines():
        group, state, *command = line.split(None, 2)  # (a process may have no command line)
        yield int(group), "" if state.startswith("Z") else " ".join(command)
