"""The keeper of a local run: one process that keeps a server and workers alive until it is told to stop.

It is a process of its own because workers are forked, which is safe only from a process without threads, and
the user's may have many. It is in a session of its own, so that Ctrl-C reaches the user's process alone, and
that says stop. Its standard input is a pipe from there: when that ends, the user's process is gone, and the
keeper goes too. What it tells goes to its standard output, a JSON object a line: {"event": NAME, ...}, with
the names ready, worker (one has ended), failed (with a message) and stopped (with the job's last status).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, NoReturn

import orjson

from gristmill.errors import GristmillError
from gristmill.local.leftovers import take_over
from gristmill.local.server import Server, ServerError
from gristmill.local.state import State, StoredJob

if TYPE_CHECKING:
    from gristmill.local.crew import Crew
    from gristmill.protocol.client import Queue

#: seconds between two looks at server and workers when nothing happens
_LOOK_SECONDS = 0.5
#: a server that dies this often within a minute is not started again
_SERVER_STARTS = 5


class Stopped(Exception):  # noqa: N818
    """The keeper was told to stop, in the middle of something that waits."""


class Keeper:
    """Keeps one state folder's server and workers alive."""

    def __init__(self, state: State, workers: int, tell: int) -> None:
        self._state = state
        self._workers = workers
        self._tell = tell
        self._wake, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._told_to_stop = False
        self._starts: list[float] = []
        self._why = ""
        self._server: Server
        self._queue: Queue
        self._crew: Crew | None = None

    def run(self) -> int:
        """Keep until told to stop; return the exit code."""
        job = self._state.job()
        try:
            self._server = self._start_server(job)
            job = self._open_first(job)
            self.tell("ready")
            self._keep(job)
        except Stopped:
            pass
        except GristmillError as error:
            self.tell("failed", message=str(error))
            return 1
        finally:
            self._stop()
            if self._state.folder.exists():
                # (again, by what still ran: a lock that names nobody says that it is a run's, and no longer needed)
                self._state.runner_lock.path.touch()
        return 0

    def tell(self, event: str, **facts: Any) -> None:
        """Tell the user's process something."""
        _tell(self._tell, event, **facts)

    def _keep(self, job: StoredJob) -> None:
        if self._workers:
            from gristmill.local.crew import Crew

            self._crew = Crew(self._state, job, self._queue, self._workers)
            self._crew.forget_former()
        while True:
            if not self._state.keeper_lock.is_there:
                raise GristmillError(
                    f"the state folder {self._state.folder} was removed while the job ran: run it again"
                )
            try:
                if not self._server.alive():
                    job = self._restart_server(job)
                if self._crew is not None and self._crew.look():
                    self.tell("worker")
            except ServerError as error:  # it died while it was asked, or before it answered
                self._why = f", last: {error}"
                continue
            self._pause(_LOOK_SECONDS)

    def _pause(self, seconds: float) -> None:
        """Wait until something happens; raise Stopped when that was the order to stop."""
        ready, _, _ = select.select([0, self._wake], [], [], seconds)
        if self._wake in ready:
            os.read(self._wake, 512)
        if self._told_to_stop or (0 in ready and not os.read(0, 512)):
            self._told_to_stop = True
            raise Stopped

    def _on_signal(self, number: int, frame: object) -> None:
        self._told_to_stop = True

    # -- the server

    def _start_server(self, job: StoredJob) -> Server:
        now = time.monotonic()
        self._starts = [at for at in self._starts if at > now - 60] + [now]
        if len(self._starts) > _SERVER_STARTS:
            raise GristmillError(f"the queue's server died {_SERVER_STARTS} times within a minute{self._why}")
        return Server.start(self._state.queue, job.durable)

    def _open_first(self, job: StoredJob) -> StoredJob:
        """Open the queue of a server that was just started; one that somebody kills meanwhile is started again."""
        while True:
            try:
                return self._open_queue(job)
            except ServerError as error:
                if not self._server.was_killed:
                    raise
                self._why = f", last: {error}"
                self._server = self._start_server(job)

    def _open_queue(self, job: StoredJob) -> StoredJob:
        """See that the server has the functions and the job, and only then let others connect."""
        self._connect(self._server.draft_url, job)
        self._queue.load_library()
        if self._workers:
            job = self._ensure_job(job)
        self._server.publish()
        self._connect(self._server.url, job)
        return job

    def _connect(self, url: str, job: StoredJob) -> None:
        from gristmill.protocol.client import Queue, connect

        self._queue = Queue(connect(url), job.uid, durable=job.durable)
        self._queue.on_wait = self._while_waiting

    def _ensure_job(self, job: StoredJob) -> StoredJob:
        """See that the queue has the job; where it had it once, and forgot, a new epoch begins."""
        if not self._queue.exists():
            job = replace(
                job, epoch=job.epoch + job.started, started=True, renewed=False, suspend_changed=False
            )
            self._state.save(job)
            self._queue.create(job.job_context().fields(job.epoch))
        elif job.renewed:
            _renew(self._queue, job)
            job = replace(job, renewed=False, suspend_changed=False)
            self._state.save(job)
        return job

    def _while_waiting(self) -> None:
        self._pause(0)
        self._server.check_started()

    def _restart_server(self, job: StoredJob) -> StoredJob:
        print("the queue's server is gone or has lost its folder: starting it again", flush=True)
        self._server.kill()
        self._server = self._start_server(job)
        job = self._open_queue(job)
        if self._crew is not None:
            self._crew.renew(job, self._queue)
        return job

    # -- the end

    def _stop(self) -> None:
        """Let workers finish what runs, then the server what it writes; each only so long.

        Where the state folder was removed nobody needs what they do, and it may be in the way of the next run.
        """
        if self._crew is not None:
            self._crew.stop(now=not self._state.keeper_lock.is_there)
            from gristmill.protocol.client import word_of

            with suppress(GristmillError):
                if told := word_of(self._server.url, self._state.job().uid):
                    self.tell("stopped", job=told)
        if hasattr(self, "_server"):
            self._server.stop()


def _tell(user: int, event: str, **facts: Any) -> None:
    """Tell the user's process something; nobody hears it when that is gone."""
    with suppress(BrokenPipeError):
        os.write(user, orjson.dumps({"event": event, **facts}) + b"\n")


def _renew(queue: Queue, job: StoredJob) -> None:
    """Tell the queue of a job that is run again what may have changed, and try again what has failed."""
    context = job.job_context()
    told = queue.status()["job"]
    parameters = {**context.parameters(), "spec": context.to_json().decode()}
    if not job.suspend_changed:
        del parameters["suspended"]
    if told.get("planned"):
        parameters |= context.tolerance(int(told["chunks"]), int(told["items"]))
    queue.configure(parameters)
    if told["phase"] == "failed":
        queue.retry([])


def _import_ahead() -> None:
    """Import what a keeper needs, while nobody has told it yet what to keep."""
    import gristmill.local.crew
    import gristmill.protocol.client
    import gristmill.protocol.job  # noqa: F401


def main() -> NoReturn:
    """Be a keeper: read [state folder, workers, temporary] as a line of JSON, and keep that until the input ends.

    A temporary folder is removed in the end, for whoever made it may have been killed.
    """
    signal.pthread_sigmask(
        signal.SIG_SETMASK, ()
    )  # (whoever starts a run may have blocked what ends a process)
    with open(0, "rb", buffering=0, closefd=False) as told:
        if not select.select([told], [], [], 0)[0]:
            _import_ahead()
        line = told.readline()
    if not line:
        os._exit(0)
    folder, workers, temporary = orjson.loads(line)
    state = State(Path(folder))
    tell = os.dup(1)
    log = os.open(state.keeper_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        take_over(state)
        code = Keeper(state, workers, tell).run()
    except GristmillError as error:
        _tell(tell, "failed", message=str(error))
        code = 1
    except BaseException:
        traceback.print_exc()
        code = os.EX_SOFTWARE
    sys.stdout.flush()
    if temporary and code == 0:
        rmtree(folder, ignore_errors=True)
    os._exit(code)


if __name__ == "__main__":
    main()
