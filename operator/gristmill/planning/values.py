"""The values that travel between queue, supervisor and child: each is a fact that was agreed on, not an object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to commit the chunks [start, stop), consumed from the left; or items [low, high) of chunk `start`.

    `nonce` is (worker, sequence) of the call that leased it: never used twice, even if the queue forgets.
    `careful`: an earlier holder was lost, so each item is announced before it runs and the culprit will be known.
    `chore`: work for the job itself (plan, assemble:7, finish); start and stop mean nothing then.
    """

    nonce: str
    epoch: int
    start: int = 0
    stop: int = 0
    low: int = 0
    high: int = 0
    attempt: int = 0
    careful: bool = False
    chore: str = ""

    @property
    def is_fragment(self) -> bool:
        """Whether it is for some items of one chunk that was split."""
        return self.high > self.low


@dataclass(frozen=True, slots=True)
class Segment:
    """A dyadic piece of finished work inside a part: chunks [start, stop), or items [low, high) of chunk `start`.

    `offset` and `length` are bytes of the part's payload, `items` its number of results. In a reduction the payload
    of a segment is the one value of that node of the tree (length 0: no value).
    """

    start: int
    stop: int
    low: int
    high: int
    offset: int
    length: int
    items: int
    #: format `files`: names, sizes and sha256 of the files already written, one a chunk
    files: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An item (or a whole chunk: item -1) that was given up, with what is needed to understand and repeat it."""

    chunk: int
    item: int
    #: items that are lost with it (the whole chunk's, where it was not isolated)
    items: int
    #: error, crash, timeout, memory or lost
    kind: str
    attempts: int
    worker: str
    #: "ValueError: bad date"
    error: str
    traceback: str = ""
    #: the item's repr or JSON, cut at 1,000 characters
    input: str = ""
    #: unix seconds, the server's clock
    at: float = 0.0
