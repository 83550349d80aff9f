"""`gristmill repro`: the same chunk, or the item of it that failed, in this process, and under a debugger."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from gristmill.cli.places import Where, choose, name_and_chunk
from gristmill.cli.text import count
from gristmill.errors import UsageError
from gristmill.planning.plan import Plan
from gristmill.protocol.client import Queue
from gristmill.protocol.job import JobContext
from gristmill.sinks import encode
from gristmill.worker.compute import given, results_of
from gristmill.worker.failures import own_traceback
from gristmill.worker.user_code import load


def repeat_chunk(words: list[str], item: int | None, where: Where, *, debug: bool) -> int:
    """Run a chunk of a job here and print its results; return the exit code: 1 when it fails."""
    name, chunk = name_and_chunk(words)
    place = choose(name, where)
    with place.queue() as queue:
        context, plan, failed = _job_of(queue, chunk)
    if chunk >= plan.chunks:
        raise UsageError(f"there is no chunk {chunk}; the job has {count(plan.chunks, 'chunk')}")
    items = place.read(plan, chunk)
    wanted = [item] if item is not None else failed or range(len(items))
    if not all(at < len(items) for at in wanted):
        raise UsageError(f"chunk {chunk} has {count(len(items), 'item')}, from 0 to {len(items) - 1}")
    with place.modules(context) as base:
        function, _ = load(context.job.spec, base)
        if context.job.spec.process.each == "chunk":
            part = items if len(wanted) == len(items) else items[wanted[0] : wanted[-1] + 1]
            return _call(
                lambda: list(results_of(function(given(part)))), f"chunk {chunk}: {_shortened(part)}", debug
            )
        return max((_call_item(function, items, at, chunk, debug) for at in wanted), default=0)


def _call_item(
    function: Callable[[Any], Any], items: Sequence[Any], place: int, chunk: int, debug: bool
) -> int:
    what = f"chunk {chunk} item {place}"
    with suppress(UnicodeError):  # it fails below, with its traceback
        what = f"{what}: {_shortened(items[place])}"
    return _call(lambda: [function(items[place])], what, debug)


def _job_of(queue: Queue, chunk: int) -> tuple[JobContext, Plan, list[int]]:
    """Return the job as its workers know it, its plan, and the items of the chunk that are dead letters."""
    context, plan = queue.context(), queue.plan()
    if context is None or plan is None:
        raise UsageError("the job has not been planned yet")
    letters = [letter for letter in queue.dead_letters() if letter.chunk == chunk]
    items = sorted(letter.item for letter in letters if letter.item >= 0)
    return JobContext.from_json(context), Plan.from_json(plan), items


def _call(call: Callable[[], list[Any]], what: str, debug: bool) -> int:
    print(what, file=sys.stderr)
    try:
        sys.stdout.write(encode(call()).decode())
        sys.stdout.flush()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        sys.stderr.write(own_traceback(error))
        if debug:
            import pdb  # (it imports modules `code`, `bdb` and `cmd`, and a user's may have such a name)

            pdb.post_mortem(error.__traceback__)
        return 1
    return 0


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
