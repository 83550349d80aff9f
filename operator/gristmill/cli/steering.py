"""`gristmill retry`, `suspend` and `resume`: they work on a run that goes on, and on one that has stopped."""

from __future__ import annotations

import re
from pathlib import Path

from gristmill.cli.text import count, print_json
from gristmill.errors import UsageError
from gristmill.local.hosts import open_queue
from gristmill.local.state import State, find


def retry_letters(wanted: list[str], folder: Path | None, *, as_json: bool) -> None:
    """Open dead letters again: all, those of chunks, or single ones (CHUNK:ITEM)."""
    for word in wanted:
        if not re.fullmatch(r"\d+(:-?\d+)?", word):
            raise UsageError(f"{word!r} is not a chunk; write CHUNK or CHUNK:ITEM")
    state = find(None, folder)
    live = state.runner_lock.holder() != 0
    with open_queue(state) as queue:
        names = [f"{letter.chunk}:{letter.item}" for letter in queue.dead_letters()]
        chosen = [name for name in names if not wanted or name in wanted or name.partition(":")[0] in wanted]
        if wanted and not chosen:
            raise UsageError(f"there is no dead letter of {', '.join(wanted)}")
        opened = queue.retry(chosen) if chosen else 0
    if opened:
        state.save_status(None)
    if as_json:
        print_json({"opened": opened})
    else:
        print(f"{count(opened, 'dead letter')} opened again{_how_to_go_on(state, live) if opened else ''}")


def set_suspended(name: str | None, folder: Path | None, *, suspended: bool, as_json: bool) -> None:
    """Suspend a run, or let it go on."""
    state = find(name, folder)
    live = state.runner_lock.holder() != 0
    with open_queue(state) as queue:
        queue.suspend(suspended)
    if as_json:
        print_json({"suspended": suspended})
    elif suspended:
        print("suspended: no chunk is started any more; `gristmill resume` goes on")
    else:
        print(f"resumed{_how_to_go_on(state, live)}")


def _how_to_go_on(state: State, live: bool) -> str:
    return "" if live else "; nothing runs now: `gristmill run` goes on"
