"""A supervisor's view of one child: its process, what it was given, and what it is known to have done."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import time
from collections import deque
from dataclasses import asdict, replace
from multiprocessing.process import BaseProcess
from typing import Any

from gristmill.planning.pace import Pace
from gristmill.planning.values import Lease
from gristmill.protocol.job import JobContext
from gristmill.worker.capture import Captured
from gristmill.worker.channel import Channel
from gristmill.worker.child import child_main
from gristmill.worker.frozen import FrozenFor
from gristmill.worker.marker import GO_ON, Marker

#: fork, because a child must begin in milliseconds; a supervisor has one thread and never ran user code
_FORK = multiprocessing.get_context("fork")


class Slot:
    """One child at a time; a new one takes the place of one that died."""

    def __init__(self, context: JobContext, worker: str) -> None:
        self._context = context
        self._worker = worker
        self.marker = Marker()
        self.leases: deque[Lease] = deque()
        self.pace = Pace()
        self.begun = 0.0
        self._first: dict[str, int] = {}
        self.ready = False
        #: set when this supervisor killed the child, with the reason
        self.killed_for = ""
        self.starts = 0
        self.frozen = FrozenFor()
        self.has_plan = False
        self.process: BaseProcess
        self.channel: Channel
        self.captured: Captured

    def start(self, others: list[Slot]) -> None:
        """Fork a child. It closes the descriptors of `others`, so that the end of a channel is seen by its owner."""
        self.marker.idle()
        self.ready = self.has_plan = False
        self.killed_for = ""
        self.starts += 1
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        self.channel = Channel(ours)
        self.captured = Captured(read)
        inherited = [ours.fileno(), read]
        for other in others:
            inherited += [other.channel.fileno(), other.captured.fileno()]
        arguments = (Channel(theirs), write, self.marker, self._context, self._worker, inherited)
        self.process = _FORK.Process(target=_begin, args=arguments, name="gristmill-child")
        self.process.start()
        theirs.close()
        os.close(write)

    def give(self, lease: Lease) -> None:
        """Send a lease; the child runs them in order."""
        if not self.leases:
            self.begun = time.monotonic()
        self.leases.append(lease)
        self._first[lease.nonce] = lease.start
        self._send("lease", asdict(lease))

    def give_chore(self, lease: Lease, dead: list[dict[str, Any]], fragments: dict[int, int]) -> None:
        """Send a chore, with the dead letters and split chunks that it must know of."""
        self.leases.append(lease)
        self.begun = time.monotonic()
        self._send("chore", lease.nonce, lease.chore, dead, fragments)

    def give_plan(self, plan: bytes) -> None:
        """Send the plan."""
        self.has_plan = True
        self._send("plan", plan)

    def advance(self, nonce: str, upto: int) -> int:
        """Note that a lease is done up to a chunk; return where it stood (-1: not a lease of this child)."""
        for index, lease in enumerate(self.leases):
            if lease.nonce == nonce:
                self.leases[index] = replace(lease, start=min(upto, lease.stop))
                return lease.start
        return -1

    def trim(self, nonce: str, stop: int) -> None:
        """Note that a lease ends earlier now."""
        for index, lease in enumerate(self.leases):
            if lease.nonce == nonce:
                self.leases[index] = replace(lease, stop=stop)

    def end(self, nonce: str) -> Lease | None:
        """Note that the child is through with its first lease, and return what is left of it; measures the pace."""
        if not self.leases or self.leases[0].nonce != nonce:
            return None
        lease = self.leases.popleft()
        now = time.monotonic()
        if not lease.chore and not lease.is_fragment:
            self.pace = self.pace.after(lease.start - self._first.pop(nonce, lease.start), now - self.begun)
        self.begun = now
        self.marker.wish = GO_ON
        return lease

    def forget(self) -> list[Lease]:
        """Return the leases that the child had, the running one first; it has none any more."""
        leases = list(self.leases)
        self.leases.clear()
        self._first.clear()
        self.marker.wish = GO_ON
        return leases

    def close(self, timeout: float) -> None:
        """End the child: by the end of its channel, after `timeout` seconds by SIGKILL."""
        self.channel.close()
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        self.captured.close()

    def kill(self, reason: str) -> None:
        """Kill the child, because of `reason`."""
        self.killed_for = reason
        self.process.kill()

    def how_it_died(self) -> str:
        """Say how the child ended, in words."""
        self.process.join(5)
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exited with code {code}"

    def _send(self, *message: Any) -> None:
        with contextlib.suppress(OSError):  # a child that has died is noticed by the end of its channel
            self.channel.send(*message)


def _begin(
    channel: Channel, printed: int, marker: Marker, context: JobContext, worker: str, inherited: list[int]
) -> Any:
    for descriptor in inherited:
        os.close(descriptor)
    child_main(channel, printed, marker, context, worker)
