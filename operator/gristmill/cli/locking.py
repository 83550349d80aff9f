"""`gristmill lock NAME -- COMMAND`: run a command while a lock is held, and never longer."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from time import monotonic
from types import FrameType

from gristmill.coordination import connect
from gristmill.coordination.connecting import open_store
from gristmill.coordination.errors import CoordinationError, threadless
from gristmill.coordination.leases import holder_of, seconds_of, waiting
from gristmill.coordination.port import RENEWED, Kind, Record
from gristmill.coordination.saying import later
from gristmill.coordination.sync import Lock
from gristmill.local.processes import descendants_of, start_of

#: exit codes: the lock was not had in time; it was lost, and the command ended
NOT_HAD, LOST = 75, 76
#: the command is there and can't be run; it is not there (as shells say it); the first of those of signals
_CANT_RUN, _NOT_FOUND, _BY_SIGNAL = 126, 127, 128
#: the part of a lease's time that a command has to end after the lock was lost, the look at it included: it is over
#: before others may have the lock
_END_PART = 0.4
#: seconds between two looks at a lock by the clock: a process that was stopped was told nothing
_LOOK_SECONDS = 0.2
#: seconds for which what gives up what there is is ended by no signal
_GIVE_UP_SECONDS = 1.0
#: seconds for which it is asked who has a lock that was not had
_ASK_SECONDS = 2.0
#: seconds after which a lock is had whose holder has died, beyond its own: others' turns, and the way there
_LATE_SECONDS = 2
#: name of the thread that ends the command
GUARD = "guard of a lock"
_BARRED = "the command runs as another user, and can't be sent a signal"
_PR_SET_PDEATHSIG = 1
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
    code: int | None = None
    signals = _Signals()
    logging.getLogger("gristmill.coordination").addHandler(_Lines())
    try:
        signals.hear()
        with connect(url, namespace=namespace, context=context) as client:
            lock = client.lock(name, seconds=seconds)
            if lock.acquire(timeout):
                signals.keep()
                try:
                    code = _run(lock, command, seconds, signals)
                finally:
                    signals.end_waits()  # (what follows gives the lock up)
                return code
        print(f"error: lock {name} was not had within {timeout:g} s", end="", file=sys.stderr, flush=True)
        print(asyncio.run(_why(name, url, namespace, context)), file=sys.stderr)
        return NOT_HAD
    except _Ended as end:  # (what was asked for has been taken back, or ends by itself)
        return _BY_SIGNAL + end.number if code is None else code
    except CoordinationError:
        signals.failed = True
        raise
    finally:
        # (no handler is called between the above and this: Python calls them where it calls)
        signals.over = True


def _run(lock: Lock, words: Sequence[str], seconds: int, signals: _Signals) -> int:
    """Run a command. What ends it where the lock is lost is there before it is: without that, it may not run."""
    over = threading.Event()
    given: SimpleQueue[_Command | None] = SimpleQueue()

    def guard() -> None:
        if (command := given.get()) is not None:
            _guard(lock, over, command.end, seconds * _END_PART)

    thread = threading.Thread(target=guard, name=GUARD)
    try:
        thread.start()
    except RuntimeError as error:
        raise threadless(error) from error
    command: _Command | None = None
    try:
        command = _Command(
            words, {"GRISTMILL_LOCK": lock.name, "GRISTMILL_LOCK_TOKEN": str(lock.token.number)}
        )
    except OSError as error:
        _say(f"{words[0]} can't be run: {error.strerror}")  # (the lock is held)
        return _NOT_FOUND if isinstance(error, FileNotFoundError) else _CANT_RUN
    finally:
        given.put(command)
    signals.pass_to(command.pass_on)
    command.wait()
    over.set()
    thread.join()
    code = command.code()
    if not lock.held:
        return LOST
    return code if code >= 0 else _BY_SIGNAL - code


def _guard(lock: Lock, over: threading.Event, end: Callable[[int], None], seconds: float) -> None:
    """End the command when the lock is lost while it is not over: it is asked to, and in `seconds` it is made to."""
    while lock.held:
        if over.wait(_LOOK_SECONDS):
            return
    _say(f"lock {lock.name} is lost: the command is ended")  # (which takes no time)
    end(signal.SIGTERM)
    over.wait(max(0.0, seconds - _LOOK_SECONDS))  # (the loss may be as old as a look)
    end(signal.SIGKILL)  # (also what the command has left)
    while not over.wait(_LOOK_SECONDS):
        end(signal.SIGKILL)


class _Ended(BaseException):
    """A signal came before there was a command."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Signals:
    """End the wait for a lock. Once it is had they are for the command, also those that come before it runs.

    One that comes soon after another has ended a wait, or the command has ended, does nothing: it would cut off what
    gives up what there is.

    When that has ended they end the wait for the server. When that is `over` they do nothing; where it has `failed`
    they end the program, which may not get rid of what it says of it.
    """

    def __init__(self) -> None:
        self.over = False
        self.failed = False
        self._waits = True
        self._next_end = 0.0
        self._early: list[int] = []
        self._send: Callable[[int], None] = self._early.append

    def hear(self) -> None:
        """Take them from now on."""
        for number in _PASSED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:  # (by `nohup`: the command ignores it, too)
                signal.signal(number, self._hear)

    def keep(self) -> None:
        """End nothing any more."""
        self._waits = False

    def end_waits(self) -> None:
        """End again what is waited for, but not in its first moments."""
        self._next_end = monotonic() + _GIVE_UP_SECONDS
        self._waits = True

    def pass_to(self, send: Callable[[int], None]) -> None:
        """Send them on, and first those that have come."""
        self._send = send
        for number in self._early:
            send(number)

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self.failed:
            os._exit(_BY_SIGNAL + number)
        if self.over:
            return
        if not self._waits:
            self._send(number)
        elif monotonic() >= self._next_end:
            self._next_end = monotonic() + _GIVE_UP_SECONDS
            raise _Ended(number)


class _Command:
    """A process, and what it starts: a process group, but at a terminal, whose keys are for the group that it knows."""

    def __init__(self, words: Sequence[str], environment: dict[str, str]) -> None:
        self._grouped = not _has_terminal()
        self._barred = False
        self._process = subprocess.Popen(
            words,
            env={**os.environ, **environment},
            process_group=0 if self._grouped else None,
            preexec_fn=_end_with_this(),  # noqa: PLW1509 (it takes no lock that another thread may have)
        )
        #: processes that are to be ended, and when they were started
        self._family = {self._process.pid: start_of(self._process.pid)}

    def wait(self) -> None:
        """Wait until the process has ended. Its number is not another's before `code`, so signals can't meet others."""
        if sys.platform == "linux":
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()

    def code(self) -> int:
        """Return the exit code."""
        return self._process.wait()

    def pass_on(self, number: int) -> None:
        """Send a signal to the command, unless the terminal has sent it."""
        if not self._grouped and number == signal.SIGINT:
            return
        try:
            if self._grouped:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)
        except ProcessLookupError:
            pass
        except PermissionError:
            _say(f"{_BARRED}; the lock is held until it ends")

    def end(self, number: int) -> None:
        """Send a signal to the process and all that it has started."""
        if self._grouped:
            self._end(os.killpg, self._process.pid, number)
            return
        there = [pid for pid, start in self._family.items() if start_of(pid) == start]
        for pid in [*there, *descendants_of(there)]:
            self._family.setdefault(pid, start_of(pid))
            self._end(os.kill, pid, number)

    def _end(self, kill: Callable[[int, int], None], pid: int, number: int) -> None:
        try:
            kill(pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            if not self._barred:
                self._barred = True
                _say(f"{_BARRED}; it goes on without the lock: end process {pid}")


def _say(what: str) -> None:
    """Tell an error soon, if there is somebody to tell it: what follows has to be done in any case."""
    later(partial(_write, f"error: {what}"))


def _write(line: str) -> None:
    """Write a line to standard error by no lock: the end of this program would wait for who has it."""
    os.write(sys.stderr.fileno(), f"{line}\n".encode(errors="backslashreplace"))


class _Lines(logging.Handler):
    """Logs as lines on standard error, by no lock either."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a line."""
        _write(self.format(record))
        return True


def _has_terminal() -> bool:
    """Whether some terminal's Ctrl-C and Ctrl-Z come here, wherever input comes from."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _end_with_this() -> Callable[[], None] | None:
    """Return what a child does first, to not outlive this process: the kernel of Linux kills it then."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def call() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # (it was killed before that)
            os._exit(1)

    return call


async def _why(name: str, url: str | None, namespace: str | None, context: str | None) -> str:
    """Return who has a lock, and what to do about it, as the rest of a sentence; nothing where that is not told."""
    with suppress(CoordinationError, TimeoutError):
        async with asyncio.timeout(_ASK_SECONDS):
            store = await open_store(url, namespace, context)
            try:
                return _told(await store.get(Kind.LOCK, name))
            finally:
                await store.close()
    return ""


def _told(record: Record | None) -> str:
    if record is None:
        return ": now nobody has it"
    if (holder := holder_of(record)) is None:
        return f": now nobody has it, and {', '.join(waiting(record)) or 'nobody'} waits for it"
    least = seconds_of(record) + _LATE_SECONDS
    return (
        f": {holder} has it, and has renewed it at {record.fields.get(RENEWED) or 'no time that is told'}; "
        f"if that has died, `--timeout {least:g}` or more gets it"
    )
