"""The handle of a run: how far it is, its results in input order, its failures; wherever it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from gristmill.client.status import ended, failure_of, status_of, unknown
from gristmill.errors import GristmillError
from gristmill.planning.progress import Sample, State, recent
from gristmill.planning.values import DeadLetter

if TYPE_CHECKING:
    from gristmill.protocol.client import Queue

#: seconds between two looks at a run that somebody waits for
_LOOK_SECONDS = 1.0
#: what of a status changes while a run stops
_COUNTS = ("chunks", "items", "workers")
#: bytes of results fetched at a time where the queue keeps them
_FETCH_BYTES = 1 << 20
#: seconds between two tries to fetch results: the first, and the longest
_PAUSE_SECONDS = (0.001, 0.05)


class JobFailed(GristmillError):  # noqa: N818 (the condition is called Failed)
    """The job has failed; `reason` is one word for programs."""

    def __init__(self, name: str, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(f"the job {name} failed ({reason}): {message}")


class Host(Protocol):
    """What keeps a run going, and what is left of it."""

    @property
    def name(self) -> str:
        """Name of the job."""

    @property
    def output(self) -> str:
        """URL of the output, or "" where the queue keeps the results."""

    def queue(self) -> Queue:
        """Return the job's queue, as soon as it answers."""

    def word(self) -> dict[str, Any] | None:
        """Return what the queue says, as `Queue.status` does; None where it does not at once."""

    def wait(self, seconds: float) -> None:
        """Wait until something happens, or so long. GristmillError when the run can't go on."""

    def letters(self) -> list[DeadLetter]:
        """Return the dead letters of a run that has ended."""

    def end(self, status: dict[str, Any]) -> None:
        """Stop, for the job has ended with this status."""

    def stop(self, now: bool) -> dict[str, Any] | None:
        """Stop in the middle and keep what is done; unless `now`, what runs may finish.

        Return what the queue said after that, as `Queue.status` does, if that is known.
        """


class Run:
    """A run of a ChunkJob. As a context manager it stops the run on leaving, if it has not ended."""

    def __init__(self, host: Host, final: dict[str, Any] | None = None) -> None:
        self._host = host
        self._final = final
        self._last: dict[str, Any] | None = None
        self._samples: list[Sample] = []
        self._cursor = 0
        #: results that were fetched and not yet handed out
        self._rest: Iterator[Any] = iter(())
        self._collected = bool(host.output)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(GristmillError) if error else nullcontext():  # (the first error is the one to hear of)
            self.cancel()

    def __repr__(self) -> str:
        return f"<Run of {self.status['name']}: {self.status['state']}>"

    @property
    def status(self) -> dict[str, Any]:
        """The status as the custom resource has it, with `name` and `state`."""
        return self._final if self._final is not None else self._take(self._host.queue().status())

    def _take(self, told: dict[str, Any]) -> dict[str, Any]:
        """Return the status by what the queue has told."""
        now = told["now"] / 1000
        sample = Sample(now, int(told["job"].get("settled") or 0))
        self._samples = recent([*self._samples, sample], now)
        self._last = status = status_of(told, self._samples, self._host.output)
        if ended(status) and (self._collected or status["state"] == State.FAILED):
            self._end(status)
        return status

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait until the job has ended, or `timeout` seconds, and return the status."""
        until = None if timeout is None else time.monotonic() + timeout
        while not ended(status := self.status) and self._final is None:
            left = _LOOK_SECONDS if until is None else min(_LOOK_SECONDS, until - time.monotonic())
            if left <= 0:
                break
            self._host.wait(left)
        return status

    def poll(self, seconds: float) -> dict[str, Any]:
        """Wait until something happens, or so long, and return the status."""
        if self._final is None:
            self._host.wait(seconds)
        return self.status

    def results(self) -> Iterator[Any]:
        """Iterate over the results in input order.

        With an output URL they are read when the job is complete, as often as wanted. Without, they come
        as they are made, once: another call goes on where the last one was left. The run is held back while
        they are not fetched. JobFailed when it has failed.
        """
        if self._host.output:
            return self._read()
        if self._collected:
            raise GristmillError(
                "the results were handed out already; give the job an output URL to keep them"
            )
        return chain.from_iterable(self._collect())

    def failures(self) -> list[DeadLetter]:
        """Return the dead letters: what was given up, by chunk and item."""
        if self._final is None:
            return list(self._host.queue().dead_letters())
        return self._host.letters()

    def cancel(self, now: bool = False) -> None:
        """Stop the run where it is, if it has not ended; unless `now`, chunks that run may finish.

        What is done is kept where state or output are, so that another run goes on from there.
        """
        if self._final is not None:
            return
        try:
            last = self._last
            # (it may be frozen: that is not waited for)
            if not (now and last) and (told := self._host.word()):
                last = self._take(told)
            if self._final is None and last and ended(last):  # (with results that nobody has fetched)
                self._end(last)
        except GristmillError:
            self._host.stop(now=True)
            raise
        if self._final is None:
            told = self._host.stop(now)
            after = status_of(told, (), self._host.output) if told else last or unknown(self._host.name)
            counts = {name: after[name] for name in _COUNTS}
            self._final = {**(last or after), **counts, "state": str(State.STOPPED), "etaSeconds": None}

    def _end(self, status: dict[str, Any]) -> None:
        self._final = status
        self._host.end(status)

    def _read(self) -> Iterator[Any]:
        from gristmill.sinks import read_results

        self._check(self.wait())
        yield from read_results(self._host.output)

    def _collect(self) -> Iterator[Iterator[Any]]:
        """Yield what was fetched, many results at a time: a generator that yields each costs a fifth of the rate."""
        from gristmill.sinks import decode

        pause = _PAUSE_SECONDS[0]
        while True:
            yield self._rest
            if self._collected or self._final is not None:
                break
            got = self._host.queue().collect(self._cursor, _FETCH_BYTES)
            moved = got.cursor > self._cursor
            self._cursor = got.cursor
            if got.payloads:
                self._rest = iter(decode(b"".join(got.payloads)))
            if moved:
                pause = _PAUSE_SECONDS[0]
                continue
            if got.phase == "complete" and got.cursor >= got.chunks:
                self._collected = True
            elif got.phase not in ("planning", "running", "complete"):
                break
            else:
                self._host.wait(pause)
                pause = min(pause * 2, _PAUSE_SECONDS[1])
        self._check(self.status)
        if not self._collected:
            raise GristmillError(
                f"the run was stopped before all results of the job {self.status['name']} were fetched"
            )

    def _check(self, status: dict[str, Any]) -> None:
        """Raise when the run has come to no good end."""
        if status["state"] == State.STOPPED:
            raise GristmillError(f"the run was stopped before the job {status['name']} was complete")
        if status["state"] == State.FAILED:
            raise JobFailed(status["name"], *failure_of(status))
