"""`gristmill lock NAME -- COMMAND`: run a command while a lock is held, and never longer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

from gristmill.coordination import connect
from gristmill.coordination.errors import LockLost
from gristmill.coordination.sync import Lock

#: exit codes: the lock was not had in time; it was lost, and the command ended
NOT_HAD, LOST = 75, 76
#: the command is there and can't be run; it is not there (as shells say it)
_CANT_RUN, _NOT_FOUND = 126, 127
#: the part of a lease's time that a command has to end after the lock was lost: it is over before others may have the
#: lock
_END_PART = 0.4
#: seconds between two looks at a lock by the clock: a process that was stopped was told nothing
_LOOK_SECONDS = 0.2
#: signals that are passed on to the command
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_locked(
    name: str,
    command: Sequence[str],
    *,
    timeout: float | None,
    seconds: int,
    url: str | None,
    namespace: str | None,
    context: str | None,
) -> int:
    """Run a command while this holds a lock; return its exit code, NOT_HAD or LOST."""
    with connect(url, namespace=namespace, context=context) as client:
        lock = client.lock(name, seconds=seconds)
        if not lock.acquire(timeout):
            print(f"error: lock {name} was not had within {timeout:g} s", file=sys.stderr)
            return NOT_HAD
        return _run(lock, command, seconds)


def _run(lock: Lock, command: Sequence[str], seconds: int) -> int:
    environment = {
        **os.environ,
        "GRISTMILL_LOCK": lock.name,
        "GRISTMILL_LOCK_TOKEN": str(lock.token.number),
    }
    # (what it starts is ended with it; at a terminal it stays in the group that the terminal knows)
    group = None if sys.stdin is not None and sys.stdin.isatty() else 0
    try:
        process = subprocess.Popen(command, env=environment, process_group=group)
    except OSError as error:
        lock.release()
        print(f"error: {command[0]} can't be run: {error.strerror}", file=sys.stderr)
        return _NOT_FOUND if isinstance(error, FileNotFoundError) else _CANT_RUN

    def send(number: int) -> None:
        with suppress(ProcessLookupError):
            (os.killpg if group == 0 else os.kill)(process.pid, number)

    def pass_on(number: int, _: FrameType | None) -> None:
        if group == 0 or number != signal.SIGINT:  # (else the terminal has sent it)
            send(number)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    over = threading.Event()
    guard = threading.Thread(target=_guard, args=(lock, over, send, seconds * _END_PART))
    guard.start()
    code = process.wait()
    over.set()
    guard.join()
    try:
        lock.release()
    except LockLost:
        return LOST
    return code if code >= 0 else 128 - code


def _guard(lock: Lock, over: threading.Event, send: Callable[[int], None], seconds: float) -> None:
    """End the command when the lock is lost while it is not over: it is asked to, and then made to."""
    while lock.held:
        if over.wait(_LOOK_SECONDS):
            return
    print(f"error: lock {lock.name} is lost: the command is ended", file=sys.stderr, flush=True)
    send(signal.SIGTERM)
    over.wait(seconds)
    send(signal.SIGKILL)  # (also to what the command has left)
