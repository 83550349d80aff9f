"""Exactly once: random histories of workers, failures and losses, on the real functions of a real server.

Each step is also told to the model in model.py, and after each step all keys are compared with it. At the end
of a history the job is drained: every item is then exactly once among the results or the dead letters.

GRISTMILL_HISTORIES and GRISTMILL_STEPS make it larger (`make chaos`).
"""

from __future__ import annotations

import os
import pickle

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis
from tests.protocol.actors import KEYS, Actors, Caller, Shape
from tests.protocol.harness import LEASE_MS, Raw, read_raw
from tests.protocol.model import Ledger, items_of

from gristmill.errors import QueueError
from gristmill.protocol.client import Queue
from gristmill.protocol.refusals import NoSuchJob
from gristmill.protocol.steps import ChoreFailed, Fail, Release, Step, Trim

HISTORIES = int(os.environ.get("GRISTMILL_HISTORIES", "2000"))
STEPS = int(os.environ.get("GRISTMILL_STEPS", "30"))
LETTER = '{"kind":"error","attempts":1,"worker":"w","error":"E: x"}'
WORKERS = st.integers(0, 2)
INDEX = st.integers(0, 5)
WANT = st.one_of(st.none(), st.integers(0, 4))
RARELY = st.integers(0, 3).map(lambda n: n == 3)
DRAIN = 400

SHAPES = [
    Shape("output", "url"),
    Shape("failing", "url", tolerated=2),
    Shape("kept", "queue"),
    Shape("pressed", "queue", window=12),
]


def is_working(history: Actors) -> bool:
    """Whether anybody believes to hold a lease."""
    return bool(history.views)


class History(Actors, RuleBasedStateMachine):
    """One job, three workers, a reader and somebody who breaks things."""

    def __init__(self, client: Redis, shape: Shape) -> None:
        RuleBasedStateMachine.__init__(self)
        Actors.__init__(self, client, shape)

    @initialize(
        chunks=st.sampled_from([0, 1, 2, 3, 8, 13, 16, 27, 40]),
        height=st.integers(0, 3),
        isolate=st.booleans(),
        attempts=st.integers(1, 3),
        infrastructure=st.integers(1, 3),
        knows_items=st.booleans(),
        planned=RARELY.map(lambda rare: not rare),
        vanishing=st.booleans(),
    )
    def make(self, chunks, height, isolate, attempts, infrastructure, knows_items, planned, vanishing):
        self.chunks, self.knows_items, self.vanishing = chunks, knows_items, vanishing
        self.ledger = Ledger(1, chunks, height, self.shape.sink, isolate, attempts, infrastructure)
        self.start_epoch(planned)

    def start_epoch(self, planned: bool) -> None:
        """Make the job; mostly it is planned at once, or many histories would be about nothing else."""
        self.create()
        if planned:
            self.report(0, [], 0)
            self.work_on(len(self.views) - 1, 8, 1, 3, False)

    @rule(who=WORKERS, want=st.integers(0, 4))
    def lease(self, who, want):
        self.report(who, [], want)

    def work_on(self, index, share, pieces, want, missing):
        who, nonce, view = self.pick(index)
        steps: list[Step] = []
        if view.chore:
            steps = [self.chore_step(nonce, view, missing)]
        elif view.high:
            steps = [self.done_step(nonce, view, view.stop)]
        else:
            for _ in range(pieces):
                if not self.is_over(view):
                    steps.append(self.done_step(nonce, view, min(view.stop, view.start + share)))
        self.send(who, nonce, view, steps, want)

    @precondition(is_working)
    @rule(index=INDEX, share=st.integers(1, 8), pieces=st.integers(1, 3), want=WANT, missing=st.booleans())
    def work(self, index, share, pieces, want, missing):
        """Commit a chore, a fragment, or some or all of an interval, in one or several pieces."""
        self.work_on(index, share, pieces, want, missing)

    @precondition(is_working)
    @rule(index=INDEX, share=st.integers(1, 3), want=WANT)
    def work_a_little(self, index, share, want):
        self.work_on(index, share, 1, want, False)

    @precondition(is_working)
    @rule(index=INDEX, below=st.integers(0, 2), item=st.integers(-1, 4), final=st.booleans(), want=WANT)
    def fail(self, index, below, item, final, want):
        who, nonce, view = self.pick(index)
        if view.chore:
            failure: Step = ChoreFailed(nonce, "Broken", "it broke", final)
            self.send(who, nonce, view, [failure], None)
            return
        chunk = view.start if view.high else min(view.stop - 1, view.start + below)
        items = view.high - view.low if view.high else items_of(chunk)
        view.start = chunk if view.high else chunk + 1
        self.send(who, nonce, view, [Fail(nonce, chunk, "error", item, items, final, LETTER)], want)

    @precondition(is_working)
    @rule(index=INDEX, share=st.integers(1, 8))
    def trim(self, index, share):
        who, nonce, view = self.pick(index)
        if view.chore or view.high or view.stop - view.start < 2:
            return
        view.stop = min(view.stop, view.start + share)
        held = self.ledger.held.get(nonce)
        if held is None or held.start < view.stop <= held.stop:
            self.send(who, nonce, view, [Trim(nonce, view.stop)], None)

    @precondition(is_working)
    @rule(index=INDEX, lost=st.booleans(), want=WANT)
    def release(self, index, lost, want):
        who, nonce, view = self.pick(index)
        self.send(who, nonce, view, [Release(nonce, lost)], want)

    @rule(who=WORKERS, forget=st.booleans())
    def heartbeat(self, who, forget):
        mine = self.mine(who)[int(forget) :]
        expired = [
            n for n in mine if n in self.ledger.held and self.clock.now >= self.ledger.held[n].deadline
        ]
        pulse = self.callers[who].heartbeat(
            self.names[who], self.ledger.epoch, {"slots": 1}, {n: self.views[n].start for n in mine}
        )
        for nonce in mine:
            if nonce in pulse.gone:
                assert nonce not in self.ledger.held or nonce in expired
                self.views.pop(nonce)
            else:
                self.ledger.held[nonce].deadline = self.clock.now + LEASE_MS
        assert set(pulse.asked) <= set(mine)
        for nonce in pulse.asked:
            assert self.ledger.held[nonce].stop - self.ledger.held[nonce].start >= 2

    # -- what goes wrong

    @rule(ms=st.sampled_from([50, 300, LEASE_MS - 1, LEASE_MS, 3 * LEASE_MS + 1]))
    def time_passes(self, ms):
        self.clock.advance(ms)

    @rule(who=WORKERS)
    def repeat(self, who):
        """The reply was lost, and the same call comes again: now, or long after, when all is forgotten."""
        caller, name = self.callers[who], self.names[who]
        if caller.last is None:
            return
        before = read_raw(self.client)
        stored = before.replies.get(name)
        words = caller.last
        if (
            not before.job
            or int(words[2]) != int(before.job["epoch"])
            or stored is None
            or stored[0] < words[1]
        ):
            return  # the epoch is over, or nobody remembers: the worker would have been told by its next call
        raw_reply = caller.raw_reply
        assert Queue._call(caller, "report", *words) == raw_reply
        assert read_raw(self.client) == before

    @rule(who=WORKERS)
    def outdated(self, who):
        """A call of an earlier sequence, stuck in a connection that was given up, arrives at last."""
        caller, name = self.callers[who], self.names[who]
        before = read_raw(self.client)
        stored = before.replies.get(name)
        if caller.last is None or stored is None or stored[0] < 2 or int(caller.last[2]) != self.ledger.epoch:
            return
        older = Caller(self.client, "j")
        older._sequence = stored[0] - 2
        reply = older.report(name, self.ledger.epoch, [Release(n) for n in self.mine(who)], 4)
        assert reply.error == "stale"
        assert read_raw(self.client) == before

    @rule(who=WORKERS)
    def old_epoch(self, who):
        before = read_raw(self.client)
        steps: list[Step] = [Release(n) for n in self.ledger.held]
        assert (
            Caller(self.client, "j").report(self.names[who], self.ledger.epoch - 1, steps, 4).error == "epoch"
        )
        assert read_raw(self.client) == before

    @rule(who=WORKERS, lost=st.booleans(), knows=st.booleans())
    def bye(self, who, lost, knows):
        """It goes, or is taken for dead: then it may well speak of its leases later."""
        mine = {n for n, lease in self.ledger.held.items() if lease.worker == self.names[who]}
        assert self.callers[who].bye(self.names[who], lost=lost) == len(mine)
        for nonce in mine:
            (self.ledger.lose if lost else self.ledger.held.pop)(nonce)
        if knows:
            self.views = {n: v for n, v in self.views.items() if v.worker != self.names[who]}
            self.callers[who].last = None

    @rule(who=WORKERS, stays=RARELY)
    def suspend(self, who, stays):
        self.callers[who].suspend(True)
        assert self.report(who, [], 4).lease is None
        self.callers[who].suspend(stays)

    @rule(rarely=RARELY, planned=st.booleans())
    def memory_lost(self, rarely, planned):
        if not rarely:
            return
        self.client.delete(*KEYS)
        with pytest.raises(NoSuchJob):
            self.callers[0].report("w0", self.ledger.epoch, [], 0)
        old = self.ledger
        self.ledger = Ledger(
            old.epoch + 1, old.chunks, old.height, old.sink, old.isolate, old.attempts, old.infrastructure
        )
        self.log = []
        if self.shape.sink == "queue":
            self.collected, self.cursor, self.ever_dead = [], 0, set()
        self.start_epoch(planned)

    @rule(calls=st.integers(1, 4))
    def rolled_back(self, calls):
        """The server crashed and is back with what its log had: the last calls never happened, for it."""
        if len(self.log) <= calls:
            return
        del self.log[-calls:]
        dumps, ledger = self.log.pop()
        self.ledger = pickle.loads(ledger)
        self.client.delete(*KEYS)
        for key, dump in zip(KEYS[:-1], dumps, strict=True):
            if dump is not None:
                self.client.restore(key, 0, dump)

    # -- people

    @precondition(lambda self: self.ledger.dead)
    @rule(index=st.integers(0, 5), everything=st.booleans())
    def retry(self, index, everything):
        names = sorted(self.ledger.dead)
        chosen = names if everything else [names[index % len(names)]]
        offered = read_raw(self.client).number("offered")
        behind = self.shape.sink == "queue" and min(chosen)[0] < max(offered, self.ledger.cursor)
        try:
            count = self.callers[0].retry([f"{c}:{i}" for c, i in chosen] if not everything else [])
        except QueueError:
            assert behind
            return
        assert not behind
        self.ledger.results = {m: p for m, p in self.ledger.results.items() if p}
        assert count == self.ledger.retry(chosen)

    @precondition(lambda self: self.shape.sink == "queue")
    @rule(size=st.sampled_from([1, 10, 1000]), lost=st.booleans())
    def collect(self, size, lost):
        before = read_raw(self.client)
        got = self.callers[0].collect(self.cursor, size)
        self.arrived(before)
        if lost:  # the answer was lost; the same cursor gives the same again
            again = self.callers[0].collect(self.cursor, size)
            assert again == got
        if self.cursor > 0 and self.cursor == self.ledger.cursor:
            with pytest.raises(QueueError, match="collected already"):
                self.callers[0].collect(self.cursor - 1, size)
        text = b"".join(got.payloads).decode().split(";")[:-1]
        found = [(int(c), int(i)) for c, i in (word.split(".") for word in text)]
        assert all(self.cursor <= c < got.cursor for c, _ in found)
        self.collected += found
        assert self.collected == sorted(set(self.collected)), "not in order, or twice"
        self.cursor = got.cursor

    def arrived(self, before: Raw) -> None:
        """The queue has heard of the cursor: results below it are dropped, those across it are made again."""
        ledger = self.ledger
        ledger.cursor = max(ledger.cursor, self.cursor)
        for member in before.ready:
            start, stop, _, _, items = map(int, member.split(":"))
            if start < self.cursor:
                ledger.results.pop(member, None)
                if stop > self.cursor:
                    ledger.done -= set(range(start, stop))
                    ledger.items_done -= items

    # -- what must hold

    @invariant()
    def holds(self):
        self.sound = False
        raw = self.absorb()
        self.ledger.check(raw, self.clock.now)
        assert raw.number("slots") == len(raw.workers)
        pipeline = self.client.pipeline(transaction=False)
        for key in KEYS[:-1]:
            pipeline.dump(key)
        self.log = [*self.log[-4:], (pipeline.execute(), pickle.dumps(self.ledger))]
        self.sound = True

    def teardown(self):
        if self.sound:
            self.drain()

    def drain(self) -> None:
        """Let one good worker do the rest: it must end, with every item accounted for once."""
        phase = read_raw(self.client).phase
        if phase == "failed":
            reason = read_raw(self.client).job["reason"]
            assert reason in {"TooManyFailures", "Broken", "WorkerLost"}
            if reason == "TooManyFailures":
                assert sum(self.ledger.dead.values()) > self.shape.tolerated
        self.callers[0].suspend(False)
        self.views = {}
        self.names[0] = f"drain-{self.ledger.epoch}"
        self.callers[0].last = None
        for _ in range(DRAIN):
            phase = read_raw(self.client).phase
            if phase == "complete" and (self.shape.sink == "url" or self.cursor == self.chunks):
                break
            if phase == "failed":
                self.callers[0].configure({"tolerated": 1000, "infrastructure": 1000})
                self.ledger.infrastructure = 1000
                self.callers[0].retry(["999:0"])
            self.drain_step()
            if self.shape.sink == "queue":
                self.collect(1000, False)
        else:
            raise AssertionError(f"it does not end: {read_raw(self.client)}")
        self.holds()
        everything = {(c, i) for c in range(self.chunks) for i in range(items_of(c))}
        dead = {(c, i) for c, d in self.ever_dead for i in (range(items_of(c)) if d < 0 else [d])}
        if self.shape.sink == "queue":
            assert everything - dead <= set(self.collected) <= everything
        else:
            assert everything - dead <= self.output.parts
            assert set(self.output.blocks) == set(self.ledger.blocks)
            assert self.output.manifest

    def drain_step(self) -> None:
        mine = self.mine(0)
        if not mine and self.report(0, [], 2).lease is None:
            self.clock.advance(LEASE_MS * 3)
            return
        for nonce in self.mine(0):
            view = self.views[nonce]
            vanish = self.vanishing and view.chore.startswith("assemble")
            self.vanishing &= not vanish  # once, when most of the failures are there
            step = (
                self.chore_step(nonce, view, vanish) if view.chore else self.done_step(nonce, view, view.stop)
            )
            self.send(0, nonce, view, [step], 2)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_every_item_counts_exactly_once(client: Redis, shape: Shape):
    profile = settings(
        max_examples=HISTORIES // len(SHAPES),
        stateful_step_count=STEPS,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lambda: History(client, shape), settings=profile)
