"""The runner's side of the keeper: start it, hear what it tells, start it again if it was killed, stop it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from gristmill import settings
from gristmill.errors import GristmillError
from gristmill.local.copies import keep_from_copies
from gristmill.local.server import server_url
from gristmill.local.spawn import keeper_process
from gristmill.local.state import State

if TYPE_CHECKING:
    from gristmill.protocol.client import Queue

#: seconds that a keeper may take until the queue answers: an earlier one must end, a long log be read
_READY_SECONDS = 300.0
#: seconds that a keeper may take to end: its workers drain, its server writes
_STOP_SECONDS = settings.DRAIN_SECONDS + 20
#: a keeper that was killed this often is not started again
_MOST_STARTS = 5


class KeeperHost:
    """A keeper process of a state folder, `workers` strong; 0: the server alone."""

    def __init__(self, state: State, workers: int, *, temporary: bool = False) -> None:
        self.state = state
        self._told = orjson.dumps([str(state.folder), workers, temporary]) + b"\n"
        self._starts = 0
        self._ready = False
        self._heard = b""
        self._queue: Queue | None = None
        self._failure = ""
        #: whether this process is a copy of the one that started the keeper
        self.is_copy = False
        self._process = self._start()
        keep_from_copies(self)

    def queue(self) -> Queue:
        """Return the job's queue, as soon as it answers."""
        from gristmill.protocol.client import Queue, connect

        if self._queue is None:
            job = self.state.job()
            self._await_ready()
            self._queue = Queue(connect(server_url(self.state.queue)), job.uid, durable=job.durable)
            self._queue.on_wait = lambda: self.wait(0)
        return self._queue

    def word(self) -> dict[str, Any] | None:
        """Return what the queue says of the job; None where it does not at once."""
        from gristmill.protocol.client import word_of

        return word_of(server_url(self.state.queue), self.state.job().uid)

    def wait(self, seconds: float) -> None:
        """Wait until the keeper tells something, or so long. GristmillError when it can't go on."""
        if self._failure:
            raise GristmillError(self._failure)
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        ready = select.select([handle], [], [], seconds)[0]
        if not ready and self._process.poll() is None:
            return
        # (a worker of a dead keeper, frozen, would hold the pipe open for ever)
        data = os.read(handle, 1 << 16) if ready else b""
        if not data:
            self._start_again()
            return
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            told = orjson.loads(line)
            if told["event"] == "failed":
                self._failure = told["message"]
                self.stop()
                raise GristmillError(self._failure)
            self._ready = self._ready or told["event"] == "ready"

    def stop(self) -> dict[str, Any] | None:
        """Tell the keeper to stop, and wait until it and all below it have ended; return its last word of the job."""
        if self.is_copy:
            return None
        self._close_queue()
        self._process.terminate()  # (the end of its pipe says the same, unless somebody has a copy of it)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        told = self._last_word()
        self._close()
        return told

    def kill(self) -> None:
        """End the keeper and all below it at once."""
        if self.is_copy:
            return
        self._close_queue()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._close()

    def leave(self) -> None:
        """See `copies.Held`."""
        self.is_copy = True
        self._close()

    def _start(self) -> subprocess.Popen[bytes]:
        self._starts += 1
        process = keeper_process()
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead, and will be found dead
            process.stdin.write(self._told)
            process.stdin.flush()
        return process

    def _start_again(self) -> None:
        code = self._process.wait()
        self._close()
        if code == os.EX_SOFTWARE or self._starts >= _MOST_STARTS:
            log = self.state.keeper_log
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
            last = lines[-1] if lines else "without a word"
            self._failure = f"the keeper of the run ended with code {code}: {last} (more in {log})"
            raise GristmillError(self._failure)
        self._ready = False
        self._heard = b""
        self._process = self._start()

    def _await_ready(self) -> None:
        until = time.monotonic() + _READY_SECONDS
        while not self._ready:
            if time.monotonic() > until:
                raise GristmillError(f"the queue did not answer within {_READY_SECONDS:g} seconds")
            self.wait(1.0)

    def _last_word(self) -> dict[str, Any] | None:
        """Return what the keeper, which has ended, told of the job when its workers had stopped; None if nothing."""
        pipe = self._process.stdout
        assert pipe is not None
        if pipe.closed or not select.select([pipe], [], [], 0)[0]:
            return None
        for line in (self._heard + os.read(pipe.fileno(), 1 << 16)).split(b"\n")[:-1]:
            told = orjson.loads(line)
            if told["event"] == "stopped":
                job: dict[str, Any] = told["job"]
                return job
        return None

    def _close_queue(self) -> None:
        if self._queue is not None:
            self._queue.close()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
