"""The supervisor of a worker: leases, heartbeats, commits, signals. It never runs user code, so it always answers.

One thread, one loop: wait for children (or the time of a heartbeat), gather what they did, tell the queue and lease
more in one call. Whatever the queue refuses is forgotten: somebody else has done it, or will.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from dataclasses import replace
from typing import Any

from gristmill import settings
from gristmill.api.names import Reason
from gristmill.errors import GristmillError, LoadError
from gristmill.protocol.client import Queue, Reply
from gristmill.protocol.job import JobContext
from gristmill.protocol.steps import ChoreDone, ChoreFailed, Done, Fail, Release, Step, Trim
from gristmill.worker.capture import Log
from gristmill.worker.chores import failures_for
from gristmill.worker.failpoints import reach
from gristmill.worker.frozen import LEASES
from gristmill.worker.leaving import Leave, Leaving
from gristmill.worker.loaded_code import change_told
from gristmill.worker.marker import GIVE_TAIL, GO_ON, STOP
from gristmill.worker.requirements import provide
from gristmill.worker.slot import Slot
from gristmill.worker.verdict import Scene, after_death

#: a worker holds a second interval only while its chunks are shorter than this (seconds)
_READ_AHEAD = 0.25
#: leases that a worker takes at a time, where intervals can't be higher
_BATCH = 64
#: children that die this often before they are ready end the job
_STARTS = 3
#: storage that fails this often in a row ends the job
_STORAGE_FAILURES = 4
#: phases of a job in which there is something to do
_AT_WORK = ("planning", "running", "removing")
#: seconds between two looks at whether it is time to leave
_LOOK = 1.0


class Restart(Exception):  # noqa: N818
    """The queue began anew: everything that was leased is void."""


class Supervisor:
    """A worker's state from one beginning of the queue to the next."""

    def __init__(
        self,
        queue: Queue,
        worker: str,
        log: Log,
        leaving: Leaving,
        code: dict[str, str],
        *,
        is_replaced: bool = False,
    ) -> None:
        """`code` is what this worker has loaded before, for a queue that has lost its memory; it is added to.

        `is_replaced`: whoever started this worker starts another when it fails, later and later.
        """
        self._queue = queue
        self._code = code
        self._is_replaced = is_replaced
        self._worker = worker
        self._log = log
        self._leaving = leaving
        self._steps: list[Step] = []
        self._failure: tuple[str, str] | None = None
        #: why this worker can't load code that others have loaded; "" where it can
        self._unloaded = ""
        self._storage_failures = 0
        self._hold_until = 0.0
        self._idle_since: float | None = None
        self._phase = "planning"
        self._plan: bytes | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(leaving.reader, selectors.EVENT_READ, (None, "signal"))
        self._slots: list[Slot] = []
        self._next_beat = 0.0

    def run(self) -> None:
        """Work until the job has ended. LoadError: its code has been loaded before, and can't be here."""
        self._info: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slots": 1,
            "since": time.time(),
        }
        told = self._queue.hello(self._worker, self._info)
        reach("supervisor.hello")
        self._epoch = int(told["epoch"])
        self._phase = told["phase"]
        self._context = context = JobContext.from_json(told["spec"])
        spec = context.job.spec
        self._timeout = spec.retry.timeout_seconds
        self._lease_seconds = spec.workers.lease_seconds
        self._beat = self._lease_seconds / 5
        self._info["slots"] = spec.workers.processes
        try:
            if self._phase != "removing":
                provide(spec.process.pip)
        except LoadError as error:
            self._heartbeat()
            self._fail_to_load(str(error))
            if self._failure:
                self._queue.fail_job(self._epoch, *self._failure)
            self._queue.bye(self._worker, lost=False)
            if self._unloaded:
                raise
            return
        self._slots = [Slot(context, self._worker) for _ in range(spec.workers.processes)]
        for slot in self._slots:
            self._start(slot)
        try:
            self._heartbeat()
            if self._code:
                self._claim_code(self._code)
            while self._phase in _AT_WORK:
                self._check_leaving()
                self._turn()
        finally:
            self._leave()

    # -- the loop

    def _turn(self) -> None:
        self._listen(self._pause())
        for slot in self._slots:
            if not self._failure:
                self._watch(slot)
        if self._failure:
            self._queue.fail_job(self._epoch, *self._failure)
            self._phase = "failed"
            return
        if self._unloaded:
            raise LoadError(self._unloaded)
        if self._phase == "removing":
            self._drop_chunks()
        wanting = [slot for slot in self._slots if self._wants(slot)]
        if self._steps or wanting:
            self._report(wanting)
        if time.monotonic() >= self._next_beat:
            self._heartbeat()

    def _check_code(self, slot: Slot) -> None:
        """Fail the job where a child has loaded other code than the first one had: results would be of both."""
        if slot.code:
            self._claim_code(slot.code)
            self._code.update(slot.code)
            slot.code = {}
        if slot.waits and not self._failure:
            slot.confirm_code()

    def _claim_code(self, code: dict[str, str]) -> None:
        if changed := self._queue.claim_code(self._epoch, code, accept=self._context.accept_code):
            self._failure = (Reason.CODE_CHANGED, change_told(self._context, changed))

    def _check_leaving(self) -> None:
        """Raise Leave when it is time; but who is there stays to clean up a job that is given up: no other may come."""
        try:
            self._leaving.check()
        except Leave:
            if self._phase != "removing":
                for slot in self._slots:
                    slot.stop()
                self._heartbeat()
            if self._phase != "removing":
                raise

    def _pause(self) -> float:
        now = time.monotonic()
        pause = min(self._next_beat - now, _LOOK)
        if self._timeout and any(slot.held for slot in self._slots):
            pause = min(pause, self._timeout / 4)
        if any(slot.ready and not slot.held for slot in self._slots):
            pause = min(pause, self._hold_until - now)
        return max(0.0, pause)

    def _report(self, wanting: list[Slot]) -> None:
        """Send all steps; lease for one slot in the same call, for further ones in calls of their own."""
        steps, self._steps = self._steps, []
        for slot in wanting or (None,):
            want, most = None, 1
            if slot is not None:
                want = slot.pace.height(settings.LEASE_WORK_SECONDS, settings.MAX_HEIGHT)
                most = slot.pace.intervals(settings.LEASE_WORK_SECONDS, want, _BATCH)
            reach("supervisor.before_report")
            asked = time.monotonic()
            reply = self._queue.report(self._worker, self._epoch, steps, want, most)
            reach("supervisor.after_report")
            steps = []
            if reply.error:
                raise Restart
            self._phase = reply.phase
            if slot is not None:
                self._take(slot, reply, asked)

    def _take(self, slot: Slot, reply: Reply, asked: float) -> None:
        lease = reply.lease
        if lease is None:
            self._wait_a_little()
            return
        reach("supervisor.leased")
        if time.monotonic() - asked > self._lease_seconds:  # frozen since: others have it by now
            self._steps += [Release(late.nonce) for late in reply.leases]
            return
        self._idle_since = None
        self._hold_until = 0.0
        if lease.chore:
            if lease.chore != "plan":
                self._give_plan(slot)
            slot.give_chore(lease, failures_for(lease.chore, self._queue))
        else:
            self._give_plan(slot)
            slot.give(reply.leases)

    def _wait_a_little(self) -> None:
        """Nothing to lease: ask again after a quarter of the time that nothing came, within 5 ms and a second."""
        now = time.monotonic()
        if self._idle_since is None:
            self._idle_since = now
        self._hold_until = now + min(1.0, max(0.005, (now - self._idle_since) / 4))

    def _wants(self, slot: Slot) -> bool:
        if not slot.ready or time.monotonic() < self._hold_until:
            return False
        first = slot.first
        if first is None:
            return True
        few = len(slot.held) <= max(1, slot.batch // 2)
        return few and not first.lease.chore and slot.pace.reads_ahead(_READ_AHEAD)

    def _give_plan(self, slot: Slot) -> None:
        if slot.has_plan:
            return
        if self._plan is None:
            self._plan = self._queue.plan()
        if self._plan is None:
            raise Restart
        slot.give_plan(self._plan)

    # -- children

    def _start(self, slot: Slot) -> None:
        others = [other for other in self._slots if other is not slot and other.starts]
        slot.start(others, loads=self._phase != "removing")  # (to clean up, the user's code is not needed)
        self._selector.register(slot.channel, selectors.EVENT_READ, (slot, "channel"))
        self._selector.register(slot.captured, selectors.EVENT_READ, (slot, "captured"))

    def _listen(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            slot, what = key.data
            if what == "channel":
                gone = False
                try:
                    for message in slot.channel.drain():
                        self._hear(slot, message)
                except ConnectionError:
                    gone = True
                if gone:  # (not above: a child that is forked there has an error to handle for all its life)
                    self._bury(slot)
            elif what == "captured":
                self._capture(slot)
            else:
                self._leaving.heard()
        for slot in self._slots:
            self._check_code(slot)

    def _capture(self, slot: Slot) -> None:
        attempt = slot.first.lease.attempt if slot.first else 0
        for record in slot.captured.read(slot.marker.chunk):
            self._log.write({**record, "attempt": attempt, "worker": self._worker})
        if slot.captured.ended and slot.captured in self._selector.get_map():
            self._selector.unregister(slot.captured)

    def _hear(self, slot: Slot, message: list[Any]) -> None:
        match message:
            case ["ready", code]:
                slot.ready = True
                slot.code = code
                slot.starts = 0
                self._capture(slot)
                slot.captured.forget_tail()
            case ["code", code]:
                slot.code = code
                slot.waits = True
            case ["done", nonce, upto, items, direct, payload]:
                self._storage_failures = 0
                if (start := slot.advance(nonce, upto)) is not None:
                    self._steps.append(Done(nonce, upto, items, start, direct, payload))
            case ["fail", nonce, chunk, kind, item, items, final, letter]:
                slot.advance(nonce, chunk + 1)
                self._steps.append(Fail(nonce, chunk, kind, item, items, final, letter))
            case ["trim", nonce, stop]:
                slot.trim(nonce, stop)
                self._steps.append(Trim(nonce, stop))
            case ["end", nonce, seconds]:
                left = slot.end(nonce, seconds)
                if left is not None and left.is_left:
                    self._steps.append(Release(nonce))
            case ["chore_done", nonce, data]:
                slot.end(nonce)
                self._steps.append(ChoreDone(nonce, data))
            case ["chore_failed", nonce, reason, text, final, missing]:
                slot.end(nonce)
                self._steps.append(ChoreFailed(nonce, reason, text, final, [(a, b) for a, b in missing]))
            case ["storage_failed", nonce, text]:
                slot.end(nonce)
                self._steps.append(Release(nonce))
                self._storage_failures += 1
                self._hold_until = time.monotonic() + 0.25 * 2**self._storage_failures
                if self._storage_failures >= _STORAGE_FAILURES:
                    self._failure = ("OutputFailed", text)
            case ["job_failed", Reason.LOAD_FAILED, text]:
                slot.forget()
                self._fail_to_load(text)
            case ["job_failed", reason, text]:
                self._failure = (reason, text)

    def _fail_to_load(self, why: str) -> None:
        """Fail the job; but only this worker where others have loaded the code: what is in its way may pass."""
        if self._is_replaced and self._phase == "running":
            self._unloaded = why
        else:
            self._failure = (Reason.LOAD_FAILED, why)

    def _watch(self, slot: Slot) -> None:
        if slot.process.exitcode is not None:  # what it has forked may keep its channel open
            self._bury(slot)
        elif self._timeout and slot.held and slot.marker.running_seconds > self._timeout:
            slot.kill("timeout")

    def _drop_chunks(self) -> None:
        """The job is given up: nothing may be written, or loaded, any more but by those who clean up."""
        for slot in self._slots:
            at_work = slot.first and slot.first.lease.chore != "clean"
            if (at_work or slot.is_loading) and not slot.killed_for:
                slot.kill("removed")

    def _bury(self, slot: Slot) -> None:
        """A child is dead: say what it died of, give back what it had, start another."""
        self._capture(slot)
        self._selector.unregister(slot.channel)
        if slot.captured in self._selector.get_map():
            self._selector.unregister(slot.captured)
        how = slot.how_it_died()
        tail = slot.captured.tail()
        dies = not slot.ready and slot.killed_for != "removed"
        if dies and slot.starts >= _STARTS and not self._failure:
            self._fail_to_load(f"the process {how} while it loaded the code\n{tail}".strip())
        marker = slot.marker
        kind = slot.killed_for or "crash"
        said = f"the chunk ran longer than {self._timeout:g} s" if kind == "timeout" else f"the process {how}"
        scene = Scene(kind, said, marker.chunk, marker.exact, marker.item, marker.items, tail, self._worker)
        held = slot.forget()
        running = next((h for h in held if h.holds(marker.chunk)), held[0] if held else None)
        for one in held:
            left = replace(one.lease, start=one.start, stop=one.stop)
            self._steps += after_death(left, scene, time.time()) if one is running else [Release(left.nonce)]
        if not self._failure:  # (else `_leave` closes it)
            slot.close(0)
            self._start(slot)

    # -- the queue

    def _heartbeat(self) -> None:
        current = {}
        for slot in self._slots:
            chunk = slot.marker.chunk
            for nonce, held in slot.held.items():
                current[nonce] = chunk if held.holds(chunk) else held.start
        self._info["running"] = [
            {"chunk": slot.marker.chunk, "seconds": round(slot.marker.running_seconds, 1)}
            for slot in self._slots
            if slot.marker.chunk >= 0
        ]
        reach("supervisor.heartbeat")
        pulse = self._queue.heartbeat(self._worker, self._epoch, self._info, current)
        self._next_beat = time.monotonic() + self._beat
        if pulse.epoch != self._epoch:
            raise Restart
        self._phase = pulse.phase
        for slot in self._slots:
            if slot.frozen.look(slot.process) > LEASES * self._lease_seconds:
                slot.kill("frozen")
            first = slot.first
            if first and first.lease.nonce in pulse.gone:
                slot.marker.wish = STOP
            elif first and first.lease.nonce in pulse.asked and slot.marker.wish == GO_ON:
                slot.marker.wish = GIVE_TAIL

    def _leave(self) -> None:
        """Let the chunks that run come to their end, commit them, and give back the rest; unless the job has ended."""
        for slot in self._slots:
            slot.stop()
        with contextlib.suppress(GristmillError, Leave, Restart):
            self._heartbeat()
        until = time.monotonic() + settings.DRAIN_SECONDS
        try:
            while self._draining() and time.monotonic() < until:
                self._listen(0.1)
            if self._steps and self._phase in _AT_WORK and not self._failure:
                self._queue.report(self._worker, self._epoch, self._steps, None)
            self._queue.bye(self._worker, lost=False)
        except (GristmillError, Leave):
            pass  # the queue is gone; its memory of this worker will expire
        for slot in self._slots:
            if slot.starts or slot.ready:
                slot.close(0)
        self._selector.close()

    def _draining(self) -> bool:
        if self._failure or self._phase not in ("planning", "running"):
            return False
        return any(slot.first and not slot.first.lease.chore for slot in self._slots)
