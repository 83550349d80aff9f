"""What the queue should hold, by item: a model that is told what was accepted, and compared with the keys.

The ledger is the server's side: it is copied with the keys when the server is rolled back. An item is a pair
(chunk, item); a chunk has 1 to 4 of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.protocol.harness import LEASE_MS, Raw

from gristmill.planning.intervals import complement, decompose
from gristmill.planning.values import Lease
from gristmill.protocol.steps import ChoreDone, ChoreFailed, Done, Fail, Release, Step, Trim


def items_of(chunk: int) -> int:
    return 1 + (chunk * 7 + 3) % 4


def payload_of(chunks: range, low: int = 0, high: int | None = None) -> bytes:
    return b"".join(
        b"%d.%d;" % (c, i) for c in chunks for i in range(low, items_of(c) if high is None else high)
    )


@dataclass
class Held:
    """A lease as the server holds it."""

    worker: str
    start: int
    stop: int
    low: int
    high: int
    attempt: int
    chore: str
    deadline: int

    @property
    def unit(self) -> str:
        return f"{self.start}:{self.low}:{self.high}" if self.high else str(self.start)

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        return self.start, self.stop, self.low, self.high


@dataclass
class Ledger:
    """What must be true of the keys of one epoch."""

    epoch: int
    chunks: int
    height: int
    sink: str
    isolate: bool
    attempts: int
    infrastructure: int
    held: dict[str, Held] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    split: dict[int, int] = field(default_factory=dict)
    done_items: dict[int, set[int]] = field(default_factory=dict)
    dead: dict[tuple[int, int], int] = field(default_factory=dict)
    expected_dead: set[tuple[int, int]] = field(default_factory=set)
    charged: Counter[str] = field(default_factory=Counter)
    #: single chunk or item -> how many holders of it alone were lost, at most
    lost: Counter[str] = field(default_factory=Counter)
    assembled: set[int] = field(default_factory=set)
    results: dict[str, bytes] = field(default_factory=dict)
    items_done: int = 0
    planned: bool = False
    cursor: int = 0

    # -- questions

    def is_settled(self, chunk: int) -> bool:
        if chunk in self.split:
            return not self.items_left(chunk)
        return chunk in self.done or (chunk, -1) in self.dead

    def items_left(self, chunk: int) -> set[int]:
        dead = {i for c, i in self.dead if c == chunk}
        return set(range(self.split[chunk])) - self.done_items.get(chunk, set()) - dead

    def alive(self, chunk: int) -> set[tuple[int, int]]:
        """Return the items of a settled chunk whose results must be somewhere."""
        if (chunk, -1) in self.dead:
            return set()
        return {(chunk, i) for i in range(items_of(chunk))} - set(self.dead)

    def block_range(self, block: int) -> range:
        return range(block << self.height, min((block + 1) << self.height, self.chunks))

    @property
    def blocks(self) -> range:
        return range(-(-self.chunks >> self.height))

    def expects(self, worker: str, step: Step, now: int) -> set[bool]:
        """Return which answers to a step are right. An expired lease may, but need not, be there still."""
        lease = self.held.get(step.nonce)
        if lease is None or lease.worker != worker:
            return {False}
        right = True
        if isinstance(step, Done):
            right = step.start == lease.start and not lease.chore
            right &= not (self.sink == "queue" and step.start < self.cursor < step.upto)
        if isinstance(step, ChoreDone) and lease.chore == "plan":
            right = not self.planned
        return {right} if now < lease.deadline or not right else {True, False}

    # -- what happens

    def grant(self, worker: str, lease: Lease, now: int) -> None:
        assert lease.nonce not in self.held, "a nonce was used twice"
        self.held[lease.nonce] = Held(
            worker, lease.start, lease.stop, lease.low, lease.high, lease.attempt, lease.chore, now + LEASE_MS
        )
        if not lease.chore:
            single = lease.is_fragment or lease.stop - lease.start == 1
            assert lease.attempt == 1 + (self.charged[self.held[lease.nonce].unit] if single else 0)

    def apply(self, step: Step, accepted: bool) -> None:
        lease = self.held.get(step.nonce)
        if not accepted:
            if isinstance(
                step, Done | ChoreDone
            ):  # where the server stands elsewhere it takes the lease back
                self.held.pop(step.nonce, None)
            return
        assert lease is not None
        match step:
            case Done():
                self._done(step, lease)
            case Fail():
                self._fail(step, lease)
            case Trim():
                lease.stop = step.stop
            case Release(lost=True):
                self.lose(step.nonce)
            case Release() | ChoreDone() | ChoreFailed():
                self.held.pop(step.nonce)
        if step.nonce in self.held and not lease.chore and lease.start >= lease.stop:
            self.held.pop(step.nonce)

    def _done(self, step: Done, lease: Held) -> None:
        self.items_done += step.items
        if lease.high:
            items = set(range(lease.low, lease.high))
            already = self.done_items.setdefault(lease.start, set())
            assert not already & items, "an item is done twice"
            already |= items
            self.charged.pop(lease.unit, None)
            self._keep(step, lease.start, lease.stop, lease.low, lease.high)
            self.held.pop(step.nonce)
            return
        for chunk in range(lease.start, step.upto):
            assert not self.is_settled(chunk), "a chunk is done twice"
            self.done.add(chunk)
            self.charged.pop(str(chunk), None)
        if step.direct:
            self.assembled |= set(range(lease.start >> self.height, (step.upto - 1 >> self.height) + 1))
        self._keep(step, lease.start, step.upto, 0, 0)
        lease.start = step.upto

    def _keep(self, step: Done, *bounds: int) -> None:
        if self.sink == "queue":
            self.results[":".join(map(str, (*bounds, step.items)))] = step.payload or b""

    def _fail(self, step: Fail, lease: Held) -> None:
        lease.start = step.chunk
        unit = lease.unit
        self.charged[unit] += 1
        if lease.high:
            self.held.pop(step.nonce)
        else:
            lease.start += 1
        if not step.final and self.charged[unit] < self.attempts:
            return
        del self.charged[unit]
        chunk, low, high = step.chunk, lease.low, lease.high or step.items
        if not lease.high and (not self.isolate or step.items == 1):
            self.expected_dead.add((chunk, 0 if self.isolate else -1))
            return
        self.split.setdefault(chunk, items_of(chunk))
        if high - low == 1:
            self.expected_dead.add((chunk, low))
        elif low <= step.item < high:
            self.expected_dead.add((chunk, step.item))

    def lose(self, nonce: str) -> None:
        """End a lease whose holder is gone without a word."""
        lease = self.held.pop(nonce)
        if not lease.chore and (lease.high - lease.low or lease.stop - lease.start) == 1:
            self.lost[lease.unit] += 1

    def reopen(self, chunk: int) -> None:
        """Take back that a whole chunk is settled, and all that is known of its items."""
        self.done.discard(chunk)
        self.split.pop(chunk, None)
        self.done_items.pop(chunk, None)
        self.dead = {name: items for name, items in self.dead.items() if name[0] != chunk}
        self.assembled.discard(chunk >> self.height)

    def retry(self, names: list[tuple[int, int]]) -> int:
        """Open dead letters; a chunk whose items are unknown is opened whole, with all its letters."""
        whole = {c for c, i in names if i < 0 or c not in self.split}
        names = [name for name in self.dead if name in names or name[0] in whole]
        reopened = {c for c, _ in names if self.is_settled(c)}
        for name in names:
            del self.dead[name]
        self.done -= whole
        self.assembled -= {c >> self.height for c in reopened}
        for block in {c >> self.height for c in reopened}:
            self._revoke(f"assemble:{block}")
        if reopened:
            self._revoke("finish")
        return len(names)

    def _revoke(self, chore: str) -> None:
        if self.sink == "url":
            for nonce in [n for n, lease in self.held.items() if lease.chore == chore]:
                del self.held[nonce]

    # -- the keys

    def absorb(self, raw: Raw, now: int) -> None:
        """Take over what only the server decides: which expired leases are gone, what was lost too often."""
        for nonce, lease in list(self.held.items()):
            if nonce not in raw.leases:
                assert now >= lease.deadline, f"{nonce} is gone before its time"
                self.lose(nonce)
        for name, value in raw.dead.items():
            chunk, item = map(int, name.split(":"))
            if (chunk, item) in self.dead:
                continue
            self.dead[chunk, item] = int(value.split(" ")[0])
            if (chunk, item) in self.expected_dead:
                self.expected_dead.discard((chunk, item))
            else:
                assert f'"attempts":{self.infrastructure + 1}' in value, (
                    f"{name} is dead for no reason: {value}"
                )
                assert '"kind":"lost"' in value
                alone = str(chunk) if item < 0 else f"{chunk}:{item}:{item + 1}"
                assert self.lost[alone] >= self.infrastructure, f"{name} is dead of what its interval lost"
            if item == 0 and chunk not in self.split:
                self.done.add(chunk)
        assert not self.expected_dead, "a dead letter is missing"
        for unit in [u for u in self.charged if u not in raw.units]:
            assert ":" in unit or (int(unit), -1) in self.dead
            del self.charged[unit]  # halved or dead because its holders were lost

    def check(self, raw: Raw, now: int) -> None:
        """Compare everything that follows from the ledger with the keys."""
        assert {n: (v["start"], v["stop"], v["low"], v["high"]) for n, v in raw.leases.items()} == {
            n: h.bounds for n, h in self.held.items()
        }
        assert {n[1:] for n in raw.deadlines if n[0] == "l"} == set(self.held)
        assert {n[1:] for n in raw.deadlines if n[0] == "w"} >= set(raw.replies) | set(raw.workers)
        chores = Counter([*raw.chores, *(h.chore for h in self.held.values() if h.chore)])
        if not self.planned:
            assert chores["plan"] == 1
            return
        self._check_partition(raw)
        self._check_chores(raw, chores)
        self._check_counters(raw)
        live = {h.unit for h in self.held.values() if not h.chore}
        live |= {_unit(m) for m in (*raw.pending, *raw.delayed)}
        assert {u for u in raw.units if u[0].isdigit()} == {u for u, n in self.charged.items() if n} <= live
        assert raw.results == {m: p for m, p in self.results.items() if p} or self.sink == "url"

    def _check_partition(self, raw: Raw) -> None:
        """Every chunk, and every item of a split chunk, is in exactly one place."""
        whole: Counter[int] = Counter(range(raw.number("next"), self.chunks))
        parts: dict[int, Counter[int]] = {}
        for start, stop, low, high in raw.units_open():
            if high:
                parts.setdefault(start, Counter()).update(range(low, high))
            else:
                whole.update(range(start, stop))
        for chunk in range(self.chunks):
            left = self.items_left(chunk) if chunk in self.split else set()
            expected = 0 if chunk in self.split or self.is_settled(chunk) else 1
            assert whole[chunk] == expected, f"chunk {chunk} is in {whole[chunk]} places"
            assert parts.get(chunk, Counter()) == Counter(left), f"items of chunk {chunk}"
            assert raw.splits.get(str(chunk), 0) == len(left)
        assert set(whole) <= set(range(self.chunks))
        for member in (*raw.pending, *raw.delayed):
            start, stop, low, high, losses = map(int, member.split(":"))
            bounds = (low, high) if high else (start, stop)
            assert list(decompose(*bounds)) == [bounds], "it is not aligned"
            if bounds[1] - bounds[0] == 1:
                assert losses <= 1 + self.lost[_unit(member)], "it is charged what its interval lost"

    def _check_chores(self, raw: Raw, chores: Counter[str]) -> None:
        if self.sink == "queue":
            assert not raw.blocks
            return
        for block in self.blocks:
            inside = self.block_range(block)
            n = sum(map(self.is_settled, inside))
            full = n == len(inside)
            assert chores[f"assemble:{block}"] == int(full and block not in self.assembled)
            assert raw.blocks.get(str(block), 0) == (0 if full else n)
        assert raw.number("blocks_done") == len(self.assembled)
        ready = all(b in self.assembled for b in self.blocks)
        assert chores["finish"] <= int(ready)
        if raw.phase == "running":
            assert chores["finish"] == int(ready)

    def _check_counters(self, raw: Raw) -> None:
        assert raw.number("settled") == sum(map(self.is_settled, range(self.chunks)))
        assert raw.number("items_done") == self.items_done
        assert raw.number("dead") == len(self.dead) == len(raw.dead)
        assert raw.number("items_dead") == sum(self.dead.values())
        assert raw.number("chunks_failed") == len({c for c, _ in self.dead})
        assert raw.number("stored") == sum(map(len, raw.results.values()))
        units = [tuple(map(int, m.split(":"))) for m in (*raw.pending, *raw.delayed)]
        waiting = sum(u[1] - u[0] for u in units if not u[3])
        assert raw.number("open") == waiting + self.chunks - raw.number("next")


def _unit(member: str) -> str:
    start, _, low, high, _ = member.split(":")
    return f"{start}:{low}:{high}" if high != "0" else start


@dataclass
class Output:
    """The storage: it outlives the queue. Parts are written before they are committed."""

    parts: set[tuple[int, int]] = field(default_factory=set)
    #: block -> its dead letters (chunk, item) -> items
    blocks: dict[int, dict[tuple[int, int], int]] = field(default_factory=dict)
    manifest: bool = False

    def write(self, lease: Held, upto: int) -> None:
        if lease.high:
            self.parts |= {(lease.start, i) for i in range(lease.low, lease.high)}
        else:
            self.parts |= {(c, i) for c in range(lease.start, upto) for i in range(items_of(c))}

    def recovered(self, ledger: Ledger, knows_items: bool) -> dict[str, Any]:
        """Return what a new epoch begins with, and put the same into its empty ledger."""
        splits: list[tuple[int, int]] = []
        rows: list[tuple[int, int]] = []
        assemble = []
        for block in ledger.blocks:
            inside = ledger.block_range(block)
            if block in self.blocks:
                ledger.assembled.add(block)
                ledger.dead |= self.blocks[block]
                ledger.done |= {c for c in inside if (c, -1) not in ledger.dead}
                for chunk in {c for c, i in self.blocks[block] if i >= 0 and knows_items}:
                    splits.append((chunk, items_of(chunk)))
                    ledger.split[chunk] = items_of(chunk)
                    dead = {i for c, i in ledger.dead if c == chunk}
                    ledger.done_items[chunk] = set(range(items_of(chunk))) - dead
                    ledger.done.discard(chunk)
                continue
            for chunk in inside:
                have = {i for c, i in self.parts if c == chunk}
                if len(have) == items_of(chunk):
                    ledger.done.add(chunk)
            n = sum(map(ledger.is_settled, inside))
            if n == len(inside):
                assemble.append(block)
            elif n:
                rows.append((block, n))
        settled = [(c, c + 1) for c in range(ledger.chunks) if ledger.is_settled(c)]
        whole = sum(items_of(c) for c in ledger.done) - sum(1 for c, i in ledger.dead if c in ledger.done)
        ledger.items_done = whole + sum(map(len, ledger.done_items.values()))
        return {
            "pieces": list(complement(settled, 0, ledger.chunks)),
            "settled": sum(map(ledger.is_settled, range(ledger.chunks))),
            "items": ledger.items_done,
            "blocks_done": len(ledger.assembled),
            "blocks": rows,
            "assemble": assemble,
            "splits": splits,
            "dead": [(c, i, n, "{}") for (c, i), n in ledger.dead.items()],
        }
