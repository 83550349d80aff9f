"""The workers of a local run: forked, watched, and forked again when one crashes.

A worker that ends with code 0 has nothing left to do and is not replaced. One that was told to go is, and so is one
that crashes: what it held is given back at once, without waiting for the lease to run out. When workers only crash,
the job fails.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import secrets
import signal
import time
from multiprocessing.context import ForkProcess
from typing import TYPE_CHECKING

from gristmill import settings
from gristmill.local.coordinating import say_where_to_coordinate
from gristmill.local.server import server_url
from gristmill.local.state import State, StoredJob
from gristmill.worker.capture import Log
from gristmill.worker.frozen import LEASES, FrozenFor, is_frozen
from gristmill.worker.service import supervise

if TYPE_CHECKING:
    from gristmill.protocol.client import Queue

#: exit code of a worker that somebody told to go, before the job has ended
_LEFT = os.EX_TEMPFAIL
#: what tells a process to stop
_STOPPING = (signal.SIGTERM, signal.SIGINT)
#: a worker that crashes within this time of its start (seconds) has not even begun
_EARLY_SECONDS = 5.0
#: so many early crashes in a row, of workers that held nothing, without a chunk done between them, end the job
_EARLY_CRASHES = 6
#: seconds that workers may take to end beyond the time they give the chunk that runs
_GRACE_SECONDS = 5.0


class Crew:
    """The workers, each in its own place."""

    def __init__(self, state: State, job: StoredJob, queue: Queue, size: int) -> None:
        self._state = state
        self._job = job
        self._queue = queue
        self._places: list[_Place] = [_Place() for _ in range(size)]
        self._early = 0
        self._settled = ""
        self._lease_seconds = job.job_context().job.spec.workers.lease_seconds
        self._deadline = _deadline(job)
        state.logs.mkdir(exist_ok=True)

    def forget_former(self) -> None:
        """Take back what workers of an earlier run held: they are gone, and could not say so."""
        for worker in self._queue.status()["workers"]:
            self._queue.bye(worker, lost=True)

    def renew(self, job: StoredJob, queue: Queue) -> None:
        """Work for the job anew: the queue was away, and may have forgotten it."""
        self._job = job
        self._queue = queue
        for place in self._places:
            place.finished = False

    def look(self) -> bool:
        """Start workers where one is due; return whether one has ended since the last look."""
        now = time.monotonic()
        self._check_deadline(now)
        if all(place.finished for place in self._places) and self._is_open():
            for place in self._places:
                place.finished = False
        ended = False
        for place in self._places:
            if place.process is not None and place.frozen.look(place.process) > LEASES * self._lease_seconds:
                place.process.kill()
            if place.process is not None and place.process.exitcode is not None:
                ended = True
                self._bury(place, now)
            if place.process is None and not place.finished and now >= place.due:
                self._start(place, now)
        return ended

    def stop(self, *, now: bool = False) -> None:
        """Let each finish the chunk that runs; kill those that don't end, and at once (`now`: all, or) the frozen."""
        living = [place.process for place in self._places if place.process is not None]
        for process in living:
            if now or is_frozen(process):
                process.kill()
            else:
                process.terminate()
        until = time.monotonic() + settings.DRAIN_SECONDS + _GRACE_SECONDS
        for process in living:
            process.join(max(0.0, until - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()

    def _start(self, place: _Place, now: float) -> None:
        place.worker = f"local-{secrets.token_hex(4)}"
        place.started = now
        place.process = multiprocessing.get_context("fork").Process(
            target=_work, args=(self._state, self._job, place.worker, os.getpid()), name=place.worker
        )
        # the copy has the keeper's handlers until `_work` resets them: signals wait until then
        former = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            place.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def _bury(self, place: _Place, now: float) -> None:
        assert place.process is not None
        code = place.process.exitcode
        if code not in (0, _LEFT):
            print(f"worker {place.worker} ended with code {code}", flush=True)
            if self._queue.bye(place.worker, lost=True):
                self._early = 0  # it had begun: the queue counts what is lost
        place.process.close()
        place.process = None
        place.finished = code == 0
        if code in (0, _LEFT):
            return
        settled = str(self._queue.status()["job"].get("settled"))
        if now - place.started >= _EARLY_SECONDS or settled != self._settled:
            self._early = 0
        self._settled = settled
        self._early += 1
        place.due = now + min(0.1 * 2 ** (self._early - 1), 2.0) if self._early > 1 else now
        if self._early >= _EARLY_CRASHES:
            message = (
                f"workers crash as soon as they start, last with code {code}; see {self._state.keeper_log}"
            )
            self._queue.fail_job(self._job.epoch, "WorkersCrash", message)
            self._early = 0

    def _is_open(self) -> bool:
        """Whether there is something to do again: dead letters were opened after the end."""
        return self._queue.status()["job"]["phase"] in ("planning", "running")

    def _check_deadline(self, now: float) -> None:
        if now > self._deadline:
            seconds = self._job.spec["activeDeadlineSeconds"]
            self._queue.fail_job(self._job.epoch, "DeadlineExceeded", f"it ran longer than {seconds} seconds")
            self._deadline = math.inf


class _Place:
    """A place for one worker."""

    def __init__(self) -> None:
        self.worker = ""
        self.process: ForkProcess | None = None
        self.started = 0.0
        self.due = 0.0
        self.finished = False
        self.frozen = FrozenFor()


def _deadline(job: StoredJob) -> float:
    """Return when a run that starts now has run for too long."""
    return time.monotonic() + float(job.spec.get("activeDeadlineSeconds", math.inf))


def _work(state: State, job: StoredJob, worker: str, keeper: int) -> None:
    """Be a worker, in a forked process."""
    signal.set_wakeup_fd(-1)
    for number in (*_STOPPING, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    url = server_url(state.queue)
    say_where_to_coordinate(state, job)
    log = Log.in_folder(state.logs, worker)
    ended = supervise(url, job.uid, worker, log, durable=job.durable, parent=keeper)
    os._exit(0 if ended else _LEFT)
