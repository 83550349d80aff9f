"""What an earlier keeper left behind is ended before anything new begins in its folder."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from gristmill import settings
from gristmill.local.processes import is_in_group, start_of
from gristmill.local.server import end_orphan
from gristmill.local.state import State

#: seconds that a keeper of an earlier run may take to end
_HANDOVER_SECONDS = settings.DRAIN_SECONDS + 15


def take_over(state: State) -> None:
    """Take the keeper's lock, from a keeper of an earlier run if need be, and end the server that it left."""
    until = time.monotonic() + _HANDOVER_SECONDS
    asked, seen = False, 0
    former, start = state.keeper_lock.last_holder()
    while holder := state.keeper_lock.take():
        late = time.monotonic() > until
        # (seen once, it may be the number of the last holder, where the next has not yet written its own)
        if holder == seen and (late or not asked):
            with suppress(ProcessLookupError):
                os.kill(holder, signal.SIGKILL if late else signal.SIGTERM)
            asked = True
        seen = holder
        time.sleep(0.02)
    end_orphan(state.queue)
    if former:
        _kill_group(former, start)


def _kill_group(keeper: int, start: str) -> None:
    """Kill what is left of a keeper that was killed: workers that are frozen, or have not noticed yet.

    After a restart of the machine its number may be that of another run's keeper.
    """
    if start and start_of(keeper) not in ("", start):
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(keeper, 0)
        if is_in_group(keeper, "gristmill.local.keeper"):
            os.killpg(keeper, signal.SIGKILL)
