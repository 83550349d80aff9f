"""Whose turn it is to hold a lock: decided from a record and the times at which it was seen, by one's own clock.

Who waits for a lock stands in its record with a ticket, one higher than the highest (Lamport's bakery, 1974; equal ones
go by name). A lock that is free, or whose holder was not seen to renew it for as long as it said, is for the first to
take, and for the others if the first does not. A holder's own time begins before it asks, an observer's after it has
seen: so the former ends first, whatever the time of day is said to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gristmill.coordination.port import HOLDER, RENEWED, SECONDS, Record

#: seconds for which others leave a lock that is free to who is the first
GRACE_SECONDS = 1.0
#: seconds between the tries of those that come after
STAGGER_SECONDS = 0.02
#: seconds of a lease whose record does not say, or says nonsense
_UNSAID_SECONDS = 60.0
#: parts of a session's time: after which others delete it; between two of their looks
_OTHERS_PART = 3 / 4
_LOOK_PART = 1 / 12

_WAITER = "waiter-"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A record, and since when it was seen with this holder, not renewed since (seconds of one's own clock)."""

    record: Record
    since: float

    @property
    def free_at(self) -> float:
        """When the lock is free: it is already, or will be if nobody renews it."""
        if holder_of(self.record) is None:
            return self.since
        return self.since + seconds_of(self.record)


def seen(before: Sighting | None, record: Record, now: float) -> Sighting:
    """Return what is known when a record was seen as it is now."""
    same = before is not None and _hold(before.record) == _hold(record)
    return Sighting(record, before.since if before is not None and same else now)


def holder_of(record: Record) -> str | None:
    """Return who holds a lock, or None."""
    return record.fields.get(HOLDER) or None


def seconds_of(record: Record) -> float:
    """Return for how many seconds a lease is held without being renewed."""
    text = record.fields.get(SECONDS, "")
    return float(text) if text.isascii() and text.isdigit() and int(text) else _UNSAID_SECONDS


def is_over(session: Sighting, now: float) -> bool:
    """Whether a session was not seen to be renewed for so long that others delete it."""
    return now >= session.since + seconds_of(session.record) * _OTHERS_PART


def look_seconds(session: Record) -> float:
    """Return how long after a look at a session there is to be another."""
    return seconds_of(session) * _LOOK_PART


def waiter(who: str) -> str:
    """Return the name of the field that says that somebody waits."""
    return _WAITER + who


def waiting(record: Record) -> Mapping[str, int]:
    """Return those who wait, in turn, with their tickets."""
    tickets = {
        name.removeprefix(_WAITER): int(text)
        for name, text in record.fields.items()
        if name.startswith(_WAITER) and text.isascii() and text.isdigit()
    }
    return dict(sorted(tickets.items(), key=lambda entry: (entry[1], entry[0])))


def next_ticket(record: Record) -> int:
    """Return the ticket of one who comes now."""
    return max(waiting(record).values(), default=0) + 1


def claim_at(sighting: Sighting, who: str) -> float:
    """Return when one who waits, or comes, may take the lock if nothing changes until then."""
    before = ahead_of(sighting.record, who)
    late = GRACE_SECONDS + STAGGER_SECONDS * len(before) if before else 0.0
    return sighting.free_at + late


def ahead_of(record: Record, who: str) -> list[str]:
    """Return those who wait and came before."""
    line = list(waiting(record))
    return line[: line.index(who)] if who in line else line


def condition_of(record: Record) -> dict[str, str | None]:
    """Return what must still be so where somebody takes a lock that they saw."""
    return {HOLDER: record.fields.get(HOLDER), RENEWED: record.fields.get(RENEWED)}


def _hold(record: Record) -> tuple[str, str | None, str | None]:
    return record.uid, record.fields.get(HOLDER), record.fields.get(RENEWED)
