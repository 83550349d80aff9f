"""Three workers, a reader and a storage, as the state machine plays them: every call is told to the model."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from redis import Redis
from tests.protocol.harness import Clock, Raw, parameters, plan_data, read_raw
from tests.protocol.model import Held, Ledger, Output, items_of, payload_of

from gristmill.planning.values import Lease
from gristmill.protocol.client import Queue, Reply
from gristmill.protocol.keys import keys_of
from gristmill.protocol.steps import ChoreDone, ChoreFailed, Done, Release, Step

KEYS = keys_of("j")


@dataclass(frozen=True)
class Shape:
    """What kind of jobs a group of histories is about."""

    name: str
    sink: str
    tolerated: int = 1000
    window: int = 1 << 30


class Caller(Queue):
    """A worker's queue that remembers its last report, so that it can be sent again."""

    last: tuple[Any, ...] | None = None
    raw_reply: Any = None

    def _call(self, function: str, *args: Any, read_only: bool = False) -> Any:
        reply = super()._call(function, *args, read_only=read_only)
        if function == "report":
            self.last, self.raw_reply = args, reply
        return reply


class Actors:
    """One job and all who speak to it, well-behaved; what goes wrong is left to the state machine."""

    ledger: Ledger
    chunks: int
    knows_items: bool

    def __init__(self, client: Redis, shape: Shape) -> None:
        client.delete(*KEYS)
        self.client, self.shape, self.clock = client, shape, Clock(client)
        self.callers = [Caller(client, "j") for _ in range(3)]
        self.names = [f"w{i}" for i in range(3)]
        #: what each worker believes to hold, which a rollback of the server does not change
        self.views: dict[str, Held] = {}
        self.output = Output()
        self.collected: list[tuple[int, int]] = []
        self.cursor = 0
        self.ever_dead: set[tuple[int, int]] = set()
        #: the keys and the ledger after each of the last steps
        self.log: list[tuple[list[Any], bytes]] = []
        self.sound = False

    def create(self) -> None:
        made = self.callers[0].create(
            parameters(
                epoch=self.ledger.epoch,
                sink=self.shape.sink,
                isolate=int(self.ledger.isolate),
                attempts=self.ledger.attempts,
                infrastructure=self.ledger.infrastructure,
                window=self.shape.window,
            )
        )
        assert made

    # -- one call of a worker, told to the model

    def report(self, who: int, steps: list[Step], want: int | None) -> Reply:
        reply = self.callers[who].report(self.names[who], self.ledger.epoch, steps, want, 1 + (want or 0) % 3)
        self.hear(who, steps, reply)
        return reply

    def hear(self, who: int, steps: list[Step], reply: Reply) -> None:
        assert reply.error is None
        for step, accepted in zip(steps, reply.accepted, strict=True):
            expected = self.ledger.expects(self.names[who], step, self.clock.now)
            assert accepted in expected, (step, accepted)
            lease = self.ledger.held.get(step.nonce)
            if accepted and isinstance(step, ChoreDone) and lease:
                self.chore_done(lease.chore)
            if accepted and isinstance(step, ChoreFailed):
                for chunk in [c for a, b in step.missing for c in range(a, b)]:
                    self.ledger.reopen(chunk)
            self.ledger.apply(step, accepted)
            if not accepted:
                self.views.pop(step.nonce, None)
        self.absorb()  # before the new lease: what expired in this call may be leased by it
        for lease in reply.leases:
            self.grant(who, lease)

    def absorb(self) -> Raw:
        raw = read_raw(self.client)
        self.ledger.absorb(raw, self.clock.now)
        self.ever_dead |= set(self.ledger.dead)
        return raw

    def grant(self, who: int, lease: Lease) -> None:
        self.ledger.grant(self.names[who], lease, self.clock.now)
        self.views[lease.nonce] = copy.copy(self.ledger.held[lease.nonce])

    def chore_done(self, chore: str) -> None:
        if chore.startswith("assemble"):
            self.ledger.assembled.add(int(chore[9:]))
        elif chore == "finish":
            self.ledger.items_done = self.manifest_items()
        else:
            self.ledger.planned = True
            if self.recovered is not None and self.finished_data is not None:
                self.ledger.items_done = self.finished_data["items"]

    def manifest_items(self) -> int:
        return sum(map(items_of, self.ledger.done)) + sum(map(len, self.ledger.done_items.values()))

    # -- what a worker does

    def plan(self) -> dict[str, Any]:
        data = plan_data(self.chunks, self.ledger.height, tolerated=self.shape.tolerated)
        self.recovered = self.finished_data = None
        if self.ledger.epoch > 1 and self.shape.sink == "url" and not self.ledger.planned:
            empty = Ledger(
                **{
                    f: getattr(self.ledger, f)
                    for f in (
                        "epoch",
                        "chunks",
                        "height",
                        "sink",
                        "isolate",
                        "attempts",
                        "infrastructure",
                        "held",
                        "charged",
                    )
                }
            )
            self.recovered = data["recovered"] = self.output.recovered(empty, self.knows_items)
            self.ledger = empty
            if self.output.manifest and not self.recovered["pieces"]:
                self.finished_data = {"digest": "d", "items": self.ledger.items_done, "bytes": 1}
                if not self.recovered["assemble"]:
                    data["finished"] = self.finished_data
                else:
                    self.finished_data = None
        return data

    def chore_step(self, nonce: str, view: Held, missing: bool) -> Step:
        if view.chore == "plan":
            return ChoreDone(nonce, self.plan())
        if view.chore == "finish":
            self.output.manifest = True
            return ChoreDone(nonce, {"digest": "d", "items": self.manifest_items(), "bytes": 1})
        block = int(view.chore[9:])
        inside = self.ledger.block_range(block)
        if nonce in self.ledger.held and self.clock.now < self.ledger.held[nonce].deadline:
            alive = {c: self.ledger.alive(c) for c in inside}
            # (what was told missing before may have been forgotten by the queue, and is missing still)
            lost = [
                c
                for c in inside
                if alive[c] and ((missing and c % 2 == 0) or not alive[c] <= self.output.parts)
            ]
            if lost:
                self.output.parts -= {(c, i) for c in lost for i in range(items_of(c))}
                self.output.blocks.pop(block, None)
                return ChoreFailed(
                    nonce, "PartsMissing", "parts are missing", missing=[(c, c + 1) for c in lost]
                )
        self.output.blocks[block] = {k: n for k, n in self.ledger.dead.items() if k[0] in inside}
        return ChoreDone(nonce)

    def done_step(self, nonce: str, view: Held, upto: int) -> Done:
        self.output.write(view, upto)
        chunks = range(view.start, upto)
        items = view.high - view.low if view.high else sum(map(items_of, chunks))
        payload = payload_of(chunks, view.low, view.high or None) if self.shape.sink == "queue" else None
        height = self.ledger.height
        covers = (
            not view.high
            and view.start % (1 << height) == 0
            and (upto % (1 << height) == 0 or upto == self.chunks)
        )
        direct = self.shape.sink == "url" and covers
        if direct:
            for block in range(view.start >> height, (upto - 1 >> height) + 1):
                self.output.blocks[block] = {}
        step = Done(nonce, upto, items, view.start, direct, payload)
        view.start = upto
        return step

    def mine(self, who: int) -> list[str]:
        return [n for n, v in self.views.items() if v.worker == self.names[who]]

    def pick(self, index: int) -> tuple[int, str, Held]:
        """Return a worker, and a nonce and the view of a lease that it believes to hold."""
        nonce = list(self.views)[index % len(self.views)]
        view = self.views[nonce]
        return self.names.index(view.worker), nonce, view

    def is_over(self, view: Held) -> bool:
        return not view.chore and view.start >= view.stop

    def send(self, who: int, nonce: str, view: Held, steps: list[Step], want: int | None) -> None:
        if view.high or view.chore or self.is_over(view) or isinstance(steps[-1], Release):
            self.views.pop(nonce, None)
        self.report(who, steps, want)
