"""`gristmill why` and `gristmill failures`: what happened to a chunk, and what was given up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gristmill.cli.places import Where, choose, name_and_chunk
from gristmill.cli.text import count, outcome, print_json
from gristmill.client.status import status_of
from gristmill.errors import UsageError
from gristmill.planning.plan import Plan
from gristmill.planning.values import DeadLetter
from gristmill.sources import open_source
from gristmill.worker.failures import input_of

if TYPE_CHECKING:
    from gristmill.client.place import Place

#: chunks whose input can't be read before no more is tried: it may be minutes for each
_MOST_FAILED = 3
_KINDS = {
    "leased": "leased",
    "refused": "a report was refused",
    "failed": "failed",
    "dead": "given up",
    "expired": "the lease ran out",
    "lost": "the worker was lost",
    "released": "given back",
}


def print_history(words: list[str], where: Where, *, as_json: bool) -> None:
    """Print each lease, refused report and failure of a chunk that is remembered, and its dead letters."""
    name, chunk = name_and_chunk(words)
    place = choose(name, where)
    with place.queue() as queue:
        history, letters, data = queue.history(), list(queue.dead_letters()), queue.plan()
    plan = Plan.from_json(data) if data else None
    if plan is not None and chunk >= plan.chunks:
        raise UsageError(f"there is no chunk {chunk}; the job has {count(plan.chunks, 'chunk')}")
    events: list[dict[str, Any]] = [
        {"time": at, **fields}
        for at, fields in history
        if int(fields.get("start", 0)) <= chunk < int(fields.get("stop", 0)) and not fields.get("chore")
    ]
    dead = list(_with_inputs([letter for letter in letters if letter.chunk == chunk], place, plan))
    what = open_source(plan).describe(chunk) if plan else ""
    if as_json:
        print_json(
            {"chunk": chunk, "input": what, "events": events, "deadLetters": [asdict(d) for d in dead]}
        )
        return
    print(f"chunk {chunk}: {what}")
    for event in events:
        print(f"  {_clock(event['time'])}  {_sentence(event)}")
    if not events:
        print("  nothing is remembered (about the last 20,000 events are)")
    for letter in dead:
        print_letter(letter)


def print_failures(name: str | None, where: Where, *, as_json: bool) -> None:
    """Print all dead letters."""
    place = choose(name, where)
    with place.queue() as queue:
        letters, told, data = list(queue.dead_letters()), queue.status(), queue.plan()
    for letter in _with_inputs(letters, place, Plan.from_json(data) if data else None):
        if as_json:
            print_json(asdict(letter))
        else:
            print_letter(letter)
    if letters or as_json:
        return
    if told["job"]["phase"] == "failed":
        print(f"no item failed by itself; {outcome(status_of(told, (), ''), is_reduction=False)}")
    else:
        print("nothing failed")


def print_letter(letter: DeadLetter) -> None:
    """Print a dead letter for people."""
    where = f"chunk {letter.chunk}" + (f" item {letter.item}" if letter.item >= 0 else "")
    print(f"{where}: {letter.error} ({letter.kind}, {count(letter.attempts, 'attempt')}, {letter.worker})")
    if letter.input:
        print(f"    input: {letter.input}")
    for line in letter.traceback.splitlines():
        print(f"    {line}")


def _with_inputs(letters: list[DeadLetter], place: Place, plan: Plan | None) -> Iterator[DeadLetter]:
    """Yield the letters; what died of an item could not tell it, so that is read here, as far as it can be."""
    if plan is not None and open_source(plan).does_io and not place.has_files:
        plan = None
    items: Sequence[Any] = ()
    at, failed = -1, 0
    for letter in letters:
        text = letter.input
        if plan is not None and not text:
            try:
                if letter.chunk != at:
                    at, items = letter.chunk, place.read(plan, letter.chunk)
                text = input_of(items, letter.item)
            except Exception:  # (whatever the input's file system raises)
                failed += 1
                plan = plan if failed < _MOST_FAILED else None
        yield replace(letter, input=text)


def _sentence(event: dict[str, Any]) -> str:
    words = [_KINDS.get(event["what"], event["what"])]
    start, stop = int(event["start"]), int(event["stop"])
    if stop - start > 1:
        words.append(f"with chunks {start} to {stop - 1}")
    if int(event.get("high") or 0) > int(event.get("low") or 0):
        words.append(f"items {event['low']} to {int(event['high']) - 1}")
    words += [f"{field} {event[field]}" for field in ("kind", "item", "attempt", "step") if field in event]
    if "worker" in event:
        words.append(f"by {event['worker']}")
    return ", ".join(words)


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="milliseconds")
