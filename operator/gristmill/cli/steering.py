"""`gristmill retry`, `suspend` and `resume`: they work on a run that goes on, on one that has stopped, on a cluster."""

from __future__ import annotations

import re

from gristmill.api.names import Reason
from gristmill.cli.places import Where, choose
from gristmill.cli.text import count, print_json
from gristmill.client.status import ended
from gristmill.errors import GristmillError, JobGivenUp, UsageError

_CHUNK = re.compile(r"\d+(:-?\d+)?")


def retry_letters(words: list[str], where: Where, *, as_json: bool) -> None:
    """Open dead letters again: all, those of chunks, or single ones (CHUNK:ITEM); a first word may name the job."""
    name = words[0] if words and not _CHUNK.fullmatch(words[0]) else None
    wanted = words[1:] if name else words
    for word in wanted:
        if not _CHUNK.fullmatch(word):
            raise UsageError(f"{word!r} is not a chunk; write CHUNK or CHUNK:ITEM")
    place = choose(name, where)
    how_to_go_on = place.how_to_go_on()
    with place.queue() as queue:
        told = queue.status()["job"]
        phase = told["phase"]
        if phase in ("removing", "removed"):
            raise JobGivenUp
        names = [f"{letter.chunk}:{letter.item}" for letter in queue.dead_letters()]
        chosen = [name for name in names if not wanted or name in wanted or name.partition(":")[0] in wanted]
        if wanted and not chosen:
            raise UsageError(f"there is no dead letter of {', '.join(wanted)}")
        opened, has_failed = 0, phase == "failed"
        if chosen or has_failed:
            with place.reopening():
                opened = queue.retry(chosen)
    if as_json:
        print_json({"opened": opened, "job": has_failed or (bool(opened) and phase == "complete")})
    else:
        what = (
            "the failed job, which has no dead letters,"
            if has_failed and not names
            else count(opened, "dead letter")
        )
        print(f"{what} opened again{how_to_go_on if opened or has_failed else ''}")
        if has_failed and told["reason"] == Reason.DEADLINE_EXCEEDED:
            print(
                "it ran longer than activeDeadlineSeconds: on a cluster it fails again unless that is raised"
            )


def set_suspended(name: str | None, where: Where, *, suspended: bool, as_json: bool) -> None:
    """Suspend a run, or let it go on."""
    place = choose(name, where)
    status = place.status()
    if ended(status):
        raise GristmillError(
            f"the job {status['name']} has ended ({status['state']}): "
            f"there is nothing to {'suspend' if suspended else 'resume'}"
        )
    how_to_go_on = place.how_to_go_on()
    place.suspend(suspended)
    if as_json:
        print_json({"suspended": suspended})
    elif suspended:
        print(f"suspended: no chunk is started any more; `gristmill resume {place.words}` goes on")
    else:
        print(f"resumed{how_to_go_on}")
