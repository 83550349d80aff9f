"""What a `Run` stands on here: a keeper in a state folder, or only what an ended run has left in one."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from gristmill.client.status import ended, status_of
from gristmill.errors import QueueError, UsageError
from gristmill.local.host import KeeperHost
from gristmill.local.server import server_url
from gristmill.local.state import State, shown
from gristmill.local.turns import is_run, leave, take_to_look

if TYPE_CHECKING:
    from gristmill.planning.values import DeadLetter
    from gristmill.protocol.client import Queue
    from gristmill.protocol.job import JobContext

#: times that a server which is just starting may not answer
_PATIENCE = 40


class RunStopped(QueueError):  # noqa: N818 (it is no fault)
    """The run whose queue was looked at is not run any more."""


class LiveHost:
    """A run with its keeper. The caller holds the runner's lock; it is given back when the run stops."""

    def __init__(self, state: State, context: JobContext, workers: int, *, temporary: bool = False) -> None:
        self.name, self.output = context.name, context.output
        self._state = state
        self._keeper = KeeperHost(state, workers, temporary=temporary)
        self._temporary = temporary
        self._letters: list[DeadLetter] = []
        if temporary:
            weakref.finalize(self, _remove, self._keeper, state)

    def queue(self) -> Queue:
        """See `client.run.Host`."""
        return self._keeper.queue()

    def word(self) -> dict[str, Any] | None:
        """See `client.run.Host`."""
        return self._keeper.word()

    def wait(self, seconds: float) -> None:
        """See `client.run.Host`."""
        self._keeper.wait(seconds)

    def letters(self) -> list[DeadLetter]:
        """See `client.run.Host`."""
        return self._letters

    def end(self, status: dict[str, Any]) -> None:
        """See `client.run.Host`."""
        try:
            queue = self.queue()
            self._letters = list(queue.dead_letters())
            self._state.save_status(status)
            if not ended(status_of(queue.status(), (), self.output)):
                self._state.save_status(None)  # (somebody has just opened dead letters again)
        finally:
            self.stop(now=self._temporary)

    def stop(self, now: bool) -> dict[str, Any] | None:
        """See `client.run.Host`."""
        told = None
        if now or self._temporary:
            self._keeper.kill()
        else:
            told = self._keeper.stop()
        self._state.runner_lock.release()
        return told


class EndedHost:
    """A run that has ended before: nothing runs."""

    def __init__(self, state: State, context: JobContext) -> None:
        self.name, self.output = context.name, context.output
        self._state = state

    def queue(self) -> Queue:
        """See `client.run.Host`."""
        raise QueueError(f"the run in {shown(self._state.folder)} has ended")

    def word(self) -> dict[str, Any] | None:
        """See `client.run.Host`."""
        return None

    def wait(self, seconds: float) -> None:
        """See `client.run.Host`."""

    def letters(self) -> list[DeadLetter]:
        """See `client.run.Host`."""
        with open_queue(self._state) as queue:
            return list(queue.dead_letters())

    def end(self, status: dict[str, Any]) -> None:
        """See `client.run.Host`."""

    def stop(self, now: bool) -> dict[str, Any] | None:
        """See `client.run.Host`."""


@contextmanager
def open_queue(state: State) -> Iterator[Queue]:
    """Give the queue of a state folder: of the run that goes on there, or of a server started for this.

    Who starts one has it alone, for it ends with them: others wait until then.
    """
    queue = None
    while queue is None and not take_to_look(state):
        queue = _queue_of_run(state)
    if queue is not None:
        with closing(queue):
            yield queue
        return
    try:
        with _own_queue(state) as queue:
            yield queue
    finally:
        leave(state)


@contextmanager
def _own_queue(state: State) -> Iterator[Queue]:
    if not state.has_queue:
        raise _forgotten(state)
    keeper = KeeperHost(state, 0)
    try:
        with closing(keeper.queue()) as queue:
            yield _with_job(queue, state)
    finally:
        keeper.stop()


def _queue_of_run(state: State) -> Queue | None:
    """Return the queue of a run that goes on; None when it has stopped."""
    from gristmill.protocol.client import Queue, connect

    job = state.job()
    queue = Queue(connect(server_url(state.queue)), job.uid, durable=job.durable)
    tries = iter(range(_PATIENCE))

    def give_up() -> None:
        if not is_run(state):
            raise RunStopped(f"the run in {shown(state.folder)} has stopped")
        if next(tries, None) is None:
            raise QueueError(f"the run in {shown(state.folder)} is going on, but its queue does not answer")

    queue.on_wait = give_up
    with ExitStack() as closes:
        closes.callback(queue.close)
        with suppress(RunStopped):
            _with_job(queue, state)
            if is_run(state):
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
