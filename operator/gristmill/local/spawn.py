"""Starting a keeper's process, ahead of time if that is known to be needed.

An interpreter with its imports takes a quarter of a second. A run starts one first of all and checks the manifest
meanwhile; if it is wrong, the process is ended before it was told what to keep.
"""

from __future__ import annotations

import atexit
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_waiting: list[subprocess.Popen[bytes]] = []


def start_ahead() -> None:
    """Start a keeper that the next `keeper_process` will return."""
    if not _waiting:
        _waiting.append(_start())
        atexit.register(_dismiss)


@contextmanager
def started_ahead() -> Iterator[None]:
    """Have a keeper started for what runs inside; it is ended if that did not need it."""
    if not _waiting:
        _waiting.append(_start())
    try:
        yield
    finally:
        _dismiss()


def keeper_process() -> subprocess.Popen[bytes]:
    """Return a keeper's process that waits on its standard input for what to keep (see `keeper.main`)."""
    return _waiting.pop() if _waiting else _start()


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "gristmill.local.keeper"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def _dismiss() -> None:
    while _waiting:
        process = _waiting.pop()
        process.kill()
        process.communicate()
