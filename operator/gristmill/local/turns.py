"""Whose turn it is in a state folder: one runs the job, or one looks at it while nobody does.

Both hold runner.lock. Who only looks holds reader.lock around it: whoever finds runner.lock taken can tell the two
apart, and waits for a look to end, but not for a run.
"""

from __future__ import annotations

import logging
import time

from gristmill.errors import UsageError
from gristmill.local.state import State, shown

#: seconds between two looks at whether somebody still looks
_PAUSE_SECONDS = 0.05
#: seconds after which it is said who is waited for, and after which they are not waited for any more
_SAID_SECONDS, _MOST_SECONDS = 1.0, 30.0

_log = logging.getLogger(__name__)


def take_run(state: State) -> int:
    """Take the turn to run the job and return 0, or return the process that runs it."""
    turn = _Turn(state)
    taken_before = False
    while holder := state.runner_lock.take():
        if looker := state.reader_lock.holder():
            turn.wait(looker)
        elif taken_before:
            return holder
        taken_before = not looker  # (one who looked may have left between the two questions)
    return 0


def take_to_look(state: State) -> bool:
    """Take the turn to look at the job; False where it is run. `leave` gives it back."""
    turn = _Turn(state)
    while not is_run(state):
        if looker := state.reader_lock.take():
            turn.wait(looker)
        elif state.runner_lock.take():
            state.reader_lock.release()
        else:
            return True
    return False


def leave(state: State) -> None:
    """Give back what `take_to_look` took."""
    state.runner_lock.release()
    state.reader_lock.release()


def is_run(state: State) -> bool:
    """Whether some process runs the job, and does not only look at it."""
    return state.runner_lock.holder() != 0 and state.reader_lock.holder() == 0


class _Turn:
    """Waits for who looks at a job; not silently, and not for ever."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._looker = 0
        self._since = 0.0
        self._said = False

    def wait(self, looker: int) -> None:
        """Wait a moment. UsageError when this process has been in the way for too long."""
        now = time.monotonic()
        if looker != self._looker:
            self._looker, self._since, self._said = looker, now, False
        waited = now - self._since
        if waited > _MOST_SECONDS:
            raise UsageError(
                f"process {looker} has been looking at the run in {shown(self._state.folder)} for {waited:.0f} s; "
                f"if it is frozen, wake it (`kill -CONT {looker}`) or end it (`kill -9 {looker}`), and try again"
            )
        if waited > _SAID_SECONDS and not self._said:
            self._said = True
            _log.warning(
                "waiting for process %d, which looks at the run in %s", looker, shown(self._state.folder)
            )
        time.sleep(_PAUSE_SECONDS)
