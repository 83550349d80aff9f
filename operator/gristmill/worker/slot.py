"""A supervisor's view of one child: its process, what it was given, and what it is known to have done."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
from dataclasses import dataclass, fields
from multiprocessing.process import BaseProcess
from typing import Any

from gristmill.planning.pace import Pace
from gristmill.planning.values import Lease
from gristmill.protocol.job import JobContext
from gristmill.sinks import discard_drafts_of
from gristmill.worker.capture import Captured
from gristmill.worker.channel import Channel
from gristmill.worker.child import child_main
from gristmill.worker.chores import Failures
from gristmill.worker.frozen import FrozenFor
from gristmill.worker.marker import GO_ON, STOP, Marker

#: fork, because a child must begin in milliseconds; a supervisor has one thread and never ran user code
_FORK = multiprocessing.get_context("fork")


#: the fields of a lease, in the order in which they are sent
_FIELDS = tuple(field.name for field in fields(Lease))


@dataclass(slots=True)
class Held:
    """A lease that the child has, and what is left of it: [start, stop)."""

    lease: Lease
    start: int
    stop: int

    @property
    def is_left(self) -> bool:
        """Whether there is something to give back."""
        return not self.lease.is_fragment and self.start < self.stop

    def holds(self, chunk: int) -> bool:
        """Whether a chunk is in what is left."""
        return self.start <= chunk < self.stop


class Slot:
    """One child at a time; a new one takes the place of one that died."""

    def __init__(self, context: JobContext, worker: str) -> None:
        self._context = context
        self._worker = worker
        self.marker = Marker()
        #: by nonce, in the order in which the child runs them
        self.held: dict[str, Held] = {}
        #: how many leases it was given last
        self.batch = 1
        self.pace = Pace()
        self._stopping = False
        self._loads = True
        self.ready = False
        #: what the child has loaded (`LoadedCode`), until the queue was told
        self.code: dict[str, str] = {}
        #: it keeps nothing before the queue was told
        self.waits = False
        #: set when this supervisor killed the child, with the reason
        self.killed_for = ""
        self.starts = 0
        self.frozen = FrozenFor()
        self.has_plan = False
        self.process: BaseProcess
        self.channel: Channel
        self.captured: Captured

    def start(self, others: list[Slot], *, loads: bool) -> None:
        """Fork a child, which `loads` the user's code or is there to clean up.

        It closes the descriptors of `others`, so that the end of a channel is seen by its owner.
        """
        self.marker.idle()
        self._loads = loads
        self.ready = self.has_plan = self.waits = False
        self.killed_for = ""
        self.starts += 1
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        self.channel = Channel(ours)
        self.captured = Captured(read)
        inherited = [ours.fileno(), read]
        for other in others:
            inherited += [other.channel.fileno(), other.captured.fileno()]
        arguments = (Channel(theirs), write, self.marker, self._context, self._worker, loads)
        self.process = _FORK.Process(target=_begin, args=(inherited, *arguments), name="gristmill-child")
        self.process.start()
        theirs.close()
        os.close(write)

    def give(self, leases: list[Lease]) -> None:
        """Send leases; the child runs them in order."""
        self.held.update((lease.nonce, Held(lease, lease.start, lease.stop)) for lease in leases)
        self.batch = len(leases)
        self._send(*[("lease", *(getattr(lease, name) for name in _FIELDS)) for lease in leases])

    def give_chore(self, lease: Lease, failures: Failures) -> None:
        """Send a chore, with what it must know of the job's failures."""
        self.held[lease.nonce] = Held(lease, 0, 0)
        self._send(("chore", lease.nonce, lease.chore, failures.to_wire()))

    def give_plan(self, plan: bytes) -> None:
        """Send the plan."""
        self.has_plan = True
        self._send(("plan", plan))

    def confirm_code(self) -> None:
        """Let the child go on with what it has loaded."""
        self.waits = False
        self._send(("code_taken",))

    @property
    def is_loading(self) -> bool:
        """Whether the child is loading the user's code."""
        return self._loads and not self.ready

    @property
    def first(self) -> Held | None:
        """What the child runs now, as far as is known here."""
        return next(iter(self.held.values()), None)

    def advance(self, nonce: str, upto: int) -> int | None:
        """Note that a lease is done up to a chunk; return where it stood (None: it is not this child's)."""
        held = self.held.get(nonce)
        if held is None:
            return None
        start, held.start = held.start, min(upto, held.stop)
        return start

    def trim(self, nonce: str, stop: int) -> None:
        """Note that a lease ends earlier now."""
        if held := self.held.get(nonce):
            held.stop = stop

    def end(self, nonce: str, seconds: float | None = None) -> Held | None:
        """Note that the child is through with a lease, which took so long; return what is left of it."""
        held = self.held.pop(nonce, None)
        if held is not None and seconds is not None and not held.lease.is_fragment:
            self.pace = self.pace.after(held.start - held.lease.start, seconds)
        if not self._stopping:
            self.marker.wish = GO_ON
        return held

    def forget(self) -> list[Held]:
        """Return what the child had; it has nothing any more."""
        held = list(self.held.values())
        self.held.clear()
        self.marker.wish = GO_ON
        return held

    def stop(self) -> None:
        """Have the child stop at the next chunk, and begin nothing that it was given."""
        self._stopping = True
        self.marker.wish = STOP

    def close(self, timeout: float) -> None:
        """End the child: by the end of its channel, after `timeout` seconds by SIGKILL."""
        self.channel.close()
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        self._end_group()
        if self.process.pid:
            discard_drafts_of(self.process.pid)
        self.captured.close()

    def kill(self, reason: str) -> None:
        """Kill the child, because of `reason`."""
        self.killed_for = reason
        self.process.kill()
        self._end_group()

    def how_it_died(self) -> str:
        """Say how the child ended, in words."""
        self.process.join(5)
        code = self.process.exitcode
        if code is not None and code < 0:
            known = {int(number): number.name for number in signal.Signals}
            return f"was killed by {known.get(-code, f'signal {-code}')}"
        return f"exited with code {code}"

    def _end_group(self) -> None:
        """End what the user's code has forked."""
        pid = self.process.pid
        if pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def _send(self, *messages: tuple[Any, ...]) -> None:
        with contextlib.suppress(OSError):  # a child that has died is noticed by the end of its channel
            self.channel.send_all(*messages)


def _begin(inherited: list[int], *arguments: Any) -> None:
    for descriptor in inherited:
        os.close(descriptor)
    child_main(*arguments)
