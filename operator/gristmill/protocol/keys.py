"""The names of a job's keys in the queue: all under one hash tag, in the order that `lua/base.lua` gives."""

from __future__ import annotations

NAMES = (
    "job",
    "pending",
    "delayed",
    "leases",
    "deadlines",
    "units",
    "dead",
    "splits",
    "blocks",
    "chores",
    "workers",
    "replies",
    "ready",
    "results",
    "history",
)


def keys_of(job: str) -> tuple[str, ...]:
    """Return the keys of the job with this unique id, in the order in which every function takes them."""
    return tuple(f"gristmill:{{{job}}}:{name}" for name in NAMES)
