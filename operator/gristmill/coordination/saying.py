"""What a client has to say is said by a thread of its own, for who logs may be held up.

By a standard error that takes nothing, a pipe that nobody empties; or by a lock that belongs to what a signal has
interrupted, whose handler waits for the client. A loop that is held up renews no lock, and sees no loss.
"""

from __future__ import annotations

import _thread
import asyncio
import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from queue import SimpleQueue

from gristmill.coordination.turn import Turn

#: what may wait to be said; more is left out
_MOST = 1_000
#: seconds for which the end of a program, and of a client, waits for it
_END_SECONDS = 1.0


class _Speaker:
    """A thread that does what may be held up, in turn. Who has it done takes no lock."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Callable[[], object]] = SimpleQueue()
        #: who has it starts the thread, which keeps it, or does its work
        self._turn = Turn()

    def do(self, call: Callable[[], object]) -> None:
        """Have something done soon, or not at all."""
        if self._waiting.qsize() < _MOST:
            self._waiting.put(call)
        if self._turn.take():
            try:
                _thread.start_new_thread(self._run, ())  # (a Thread takes locks when it starts)
            except RuntimeError:  # (none is to be had now: the next call tries again, or `finish` does it)
                self._turn.give_back()

    def finish(self) -> None:
        """Wait until all is done, for a while."""
        done = threading.Event()
        self._waiting.put(done.set)
        if not self._turn.take():
            done.wait(_END_SECONDS)
            return
        while not done.is_set():
            self._next()
        self._turn.give_back()

    async def wait(self) -> None:
        """Wait until all is done that is to be done now, for a while."""
        if not self._turn.is_taken:  # (there is nothing, or no thread for it)
            return
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        self._waiting.put(lambda: loop.call_soon_threadsafe(done.set))
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await done.wait()

    def _run(self) -> None:
        while True:
            self._next()

    def _next(self) -> None:
        call = self._waiting.get()
        with suppress(BaseException):  # (a handler may end the program, and ends this thread only)
            call()


_speaker = _Speaker()


def _begin() -> None:
    """Begin anew in a process that was forked, which has no such thread."""
    global _speaker
    _speaker = _Speaker()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin)


@atexit.register  # (so it is done after the clients, which come later, are closed)
def _finish() -> None:
    """Have all said before the program ends."""
    _speaker.finish()


async def all_said() -> None:
    """Wait until what has been said is logged, for a while."""
    await _speaker.wait()


def later(call: Callable[[], object]) -> None:
    """Have something done soon that may be held up."""
    _speaker.do(call)


def say(
    log: logging.Logger, level: int, words: str, *args: object, error: BaseException | None = None
) -> None:
    """Log a message, with the traceback of an error if there is one."""
    about = (type(error), error, error.__traceback__) if error is not None else None
    code, line = sys._getframe(1).f_code, sys._getframe(1).f_lineno
    record = log.makeRecord(log.name, level, code.co_filename, line, words, args, about, code.co_name)
    later(partial(_log, log, record))


def _log(log: logging.Logger, record: logging.LogRecord) -> None:
    if log.isEnabledFor(record.levelno):  # (asking takes logging's own lock)
        log.handle(record)


#: the errors that are logged apart in this task
_errors: ContextVar[list[str] | None] = ContextVar("errors", default=None)


@contextmanager
def apart(name: str) -> Iterator[list[str]]:
    """Have what this task logs by a logger (of another package) said as by `say`; return its errors, which are not."""
    logging.getLogger(name).addFilter(_hand_over)  # (of which there is one, however often)
    errors: list[str] = []
    mark = _errors.set(errors)
    try:
        yield errors
    finally:
        _errors.reset(mark)


def _hand_over(record: logging.LogRecord) -> bool:
    """Return whether what is logged is to be logged by who does it."""
    if (errors := _errors.get()) is None:
        return True
    if record.levelno >= logging.ERROR:
        errors.append(record.getMessage())
    else:
        later(partial(logging.getLogger(record.name).handle, record))
    return False
