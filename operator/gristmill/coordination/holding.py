"""How a lock or session is kept: renewed in time, or known to be lost before anybody else may take it for free."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from gristmill.coordination.clock import Clock, wall_time
from gristmill.coordination.errors import Conflict, CoordinationError, Missing
from gristmill.coordination.port import HOLDER, RENEWED, Record, Store
from gristmill.coordination.saying import say

log = logging.getLogger(__name__)

#: parts of a lease's time: after which it is renewed; after which its holder, who could not, takes it for lost
RENEW_PART = 1 / 6
HOLDERS_PART = 1 / 2
#: seconds until it is tried again, at the most
_RETRY_SECONDS = 0.5


@dataclass
class Hold:
    """That somebody holds something: as whom, since which revision, and until when by their own clock."""

    who: str
    number: int
    #: as it was seen last
    record: Record
    until: float


def hold(who: str, record: Record, begin: float, seconds: float) -> Hold:
    """Return the hold that was had by a call that was begun at `begin`."""
    return Hold(who, record.revision, record, begin + seconds * HOLDERS_PART)


async def keep(store: Store, held: Hold, seconds: float, clock: Clock) -> str:
    """Renew what is held for as long as that can be; return why it can't any more."""
    kind, name = held.record.kind, held.record.name
    pause = seconds * RENEW_PART
    while True:
        await asyncio.sleep(max(0.0, min(pause, held.until - clock())))
        begin = clock()
        if begin >= held.until:
            return "it could not be renewed in time"
        pause = min(_RETRY_SECONDS, seconds * RENEW_PART / 2)
        try:
            async with asyncio.timeout(held.until - begin):
                renewed = wall_time(unlike=held.record.fields.get(RENEWED, ""))
                held.record = await store.update(kind, name, {RENEWED: renewed}, where={HOLDER: held.who})
        except (Conflict, Missing) as error:
            return f"it was taken away ({error})"
        except (CoordinationError, TimeoutError) as error:
            # (of a time-out its cause may say what was waited for)
            why = str(error) or str(error.__cause__ or "") or type(error).__name__
            say(log, logging.WARNING, "%s %s can't be renewed now: %s", kind, name, why)
        else:
            held.until = begin + seconds * HOLDERS_PART
            pause = seconds * RENEW_PART
