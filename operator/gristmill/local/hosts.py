"""What a `Run` stands on here: a keeper in a state folder, or only what an ended run has left in one."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
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


@contextmanager
def open_queue(state: State) -> Iterator[Queue]:
    """Give the queue of a state folder: of the run that goes on there, or of a server started for this.

    Who starts one has it alone, for it ends with them: others wait until then.
    """
    queue = None
    while queue is None and state.runner_lock.take():
        with suppress(RunStopped):
            queue = _queue_of_another(state)
        if state.reader_lock.holder():
            queue = None
            time.sleep(_TURN_SECONDS)
    if queue is not None:
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


def _queue_of_another(state: State) -> Queue:
    from gristmill.protocol.client import Queue, connect

    job = state.job()
    queue = Queue(connect(server_url(state.queue)), job.uid, durable=job.durable)
    tries = iter(range(_PATIENCE))

    def give_up() -> None:
        if not state.runner_lock.holder():
            raise RunStopped(f"the run in {shown(state.folder)} has stopped")
        if next(tries, None) is None:
            raise QueueError(f"the run in {shown(state.folder)} is going on, but its queue does not answer")

    queue.on_wait = give_up
    return _with_job(queue, state)


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
