"""Starting a keeper's process, ahead of time if that is known to be needed.

An interpreter with its imports takes a quarter of a second. `gristmill run` starts one first of all and checks the
manifest meanwhile; if it is wrong, the process is ended before it was told what to keep.
"""

from __future__ import annotations

import atexit
import subprocess
import sys

_waiting: list[subprocess.Popen[bytes]] = []


def start_ahead() -> None:
    """Start a keeper that the next `keeper_process` will return."""
    if not _waiting:
        _waiting.append(_start())
        atexit.register(_dismiss)


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
    for process in _waiting:
        process.kill()
        process.communicate()
