"""What a `Run` stands on here: a keeper in a state folder, or only what an ended run has left in one."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from gristmill.errors import QueueError, UsageError
from gristmill.local.host import KeeperHost
from gristmill.local.server import server_url
from gristmill.local.state import State, shown

if TYPE_CHECKING:
    from gristmill.planning.values import DeadLetter
    from gristmill.protocol.client import Queue

#: times that a server which is just starting may not answer
_PATIENCE = 40
#: seconds between two looks at whether somebody still reads
_TURN_SECONDS = 0.05
#: seconds after which it is said who is waited for, and after which they are not waited for any more
_TURN_WORD, _TURN_MOST = 1.0, 30.0
#: looks at who holds the runner's lock: who only asks for its holder has it for a moment, too
_GLANCES = 5

_log = logging.getLogger(__name__)


class RunStopped(QueueError):  # noqa: N818 (it is no fault)
    """The run whose queue was looked at is not run any more."""


class LiveHost:
    """A run with its keeper. The caller holds the runner's lock; it is given back when the run stops."""

    def __init__(self, state: State, output: str, workers: int, *, temporary: bool = False) -> None:
        self.output = output
        self._state = state
        self._keeper = KeeperHost(state, workers, temporary=temporary)
        self._temporary = temporary
        self._letters: list[DeadLetter] = []
        if temporary:
            weakref.finalize(self, _remove, self._keeper, state)

    def queue(self) -> Queue:
        """See `client.run.Host`."""
        return self._keeper.queue()

    def wait(self, seconds: float) -> None:
        """See `client.run.Host`."""
        self._keeper.wait(seconds)

    def letters(self) -> list[DeadLetter]:
        """See `client.run.Host`."""
        return self._letters

    def end(self, status: dict[str, Any]) -> None:
        """See `client.run.Host`."""
        self._letters = list(self.queue().dead_letters())
        self._state.save_status(status)
        self.stop(now=self._temporary)

    def stop(self, now: bool) -> None:
        """See `client.run.Host`."""
        if now or self._temporary:
            self._keeper.kill()
        else:
            self._keeper.stop()
        self._state.runner_lock.release()


class EndedHost:
    """A run that has ended before: nothing runs."""

    def __init__(self, state: State, output: str) -> None:
        self.output = output
        self._state = state

    def queue(self) -> Queue:
        """See `client.run.Host`."""
        raise QueueError(f"the run in {shown(self._state.folder)} has ended")

    def wait(self, seconds: float) -> None:
        """See `client.run.Host`."""

    def letters(self) -> list[DeadLetter]:
        """See `client.run.Host`."""
        with open_queue(self._state) as queue:
            return list(queue.dead_letters())

    def end(self, status: dict[str, Any]) -> None:
        """See `client.run.Host`."""

    def stop(self, now: bool) -> None:
        """See `client.run.Host`."""


class _Turn:
    """Waits for who looks at a run that has stopped; not silently, and not for ever."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._holder = 0
        self._since = 0.0
        self._said = False

    def wait(self, holder: int) -> None:
        """Wait a moment. UsageError when this process has been in the way for too long."""
        now = time.monotonic()
        if holder != self._holder:
            self._holder, self._since, self._said = holder, now, False
        waited = now - self._since
        if waited > _TURN_MOST:
            raise UsageError(
                f"process {holder} has been looking at the run in {shown(self._state.folder)} for {waited:.0f} s; "
                f"if it is frozen, wake it (`kill -CONT {holder}`) or end it (`kill -9 {holder}`), and try again"
            )
        if waited > _TURN_WORD and not self._said:
            self._said = True
            _log.warning(
                "waiting for process %d, which looks at the run in %s", holder, shown(self._state.folder)
            )
        time.sleep(_TURN_SECONDS)


def take_run(state: State) -> int:
    """Take the runner's lock and return 0, or return the process that runs the job. Who only looks is waited for."""
    turn = _Turn(state)
    glances = 0
    while holder := state.runner_lock.take():
        if reader := state.reader_lock.holder():
            turn.wait(reader)
            continue
        glances += 1
        if glances >= _GLANCES:
            return holder
        time.sleep(_TURN_SECONDS)
    return 0


@contextmanager
def open_queue(state: State) -> Iterator[Queue]:
    """Give the queue of a state folder: of the run that goes on there, or of a server started for this.

    Who starts one has it alone, for it ends with them: others wait until then.
    """
    turn = _Turn(state)
    queue = None
    while queue is None and state.runner_lock.take():
        if reader := state.reader_lock.holder():
            turn.wait(reader)
        else:
            queue = _queue_of_another(state)
    if queue is not None:
        with closing(queue):
            yield queue
        return
    try:
        with _own_queue(state) as queue:
            yield queue
    finally:
        state.reader_lock.release()
        state.runner_lock.release()


@contextmanager
def _own_queue(state: State) -> Iterator[Queue]:
    if not state.has_queue:
        raise _forgotten(state)
    while state.reader_lock.take():  # (somebody asks just now who has it)
        time.sleep(_TURN_SECONDS)
    keeper = KeeperHost(state, 0)
    try:
        with closing(keeper.queue()) as queue:
            yield _with_job(queue, state)
    finally:
        keeper.stop()


def _queue_of_another(state: State) -> Queue | None:
    """Return the queue of a run that goes on; None when it has stopped, though somebody may look at it."""
    from gristmill.protocol.client import Queue, connect

    job = state.job()
    queue = Queue(connect(server_url(state.queue)), job.uid, durable=job.durable)
    tries = iter(range(_PATIENCE))

    def give_up() -> None:
        if not state.runner_lock.holder() or state.reader_lock.holder():
            raise RunStopped(f"the run in {shown(state.folder)} has stopped")
        if next(tries, None) is None:
            raise QueueError(f"the run in {shown(state.folder)} is going on, but its queue does not answer")

    queue.on_wait = give_up
    with ExitStack() as closes:
        closes.callback(queue.close)
        with suppress(RunStopped):
            _with_job(queue, state)
            if not state.reader_lock.holder():
                closes.pop_all()
                return queue
    return None


def _with_job(queue: Queue, state: State) -> Queue:
    if not queue.exists():
        raise _forgotten(state)
    return queue


def _forgotten(state: State) -> UsageError:
    return UsageError(
        f"the queue in {shown(state.folder)} has lost its memory; "
        "run the job again, and it goes on from the finished parts"
    )


def _remove(keeper: KeeperHost, state: State) -> None:
    if not keeper.is_copy:
        keeper.kill()
        rmtree(state.folder, ignore_errors=True)
