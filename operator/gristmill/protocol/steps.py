"""What a worker can say of a lease in a report: the typed form of the steps of `lua/report.lua`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to the lease `nonce`."""

    what: ClassVar[str]
    nonce: str

    def to_wire(self, payloads: list[bytes]) -> dict[str, Any]:
        """Return the msgpack form; a payload is appended to `payloads` and named by its number."""
        return {"what": self.what, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Done(Step):
    """The chunks up to `upto` (or the fragment) are done; `direct`: their final blocks are already published.

    `start` is the first of them. A queue that stands elsewhere was rolled back, and refuses.
    """

    what: ClassVar[str] = "done"
    upto: int
    items: int
    start: int
    direct: bool = False
    payload: bytes | None = None

    def to_wire(self, payloads: list[bytes]) -> dict[str, Any]:
        """Return the msgpack form."""
        if self.payload is not None:
            payloads.append(self.payload)
        number = len(payloads) if self.payload is not None else 0
        return {
            "what": self.what,
            "nonce": self.nonce,
            "start": self.start,
            "upto": self.upto,
            "items": self.items,
            "direct": self.direct,
            "payload": number,
        }


@dataclass(frozen=True, slots=True)
class Fail(Step):
    """A chunk of the lease (or the fragment) failed; chunks below it that are not committed are given back.

    `item` is -1 where the culprit among its `items` is unknown.
    """

    what: ClassVar[str] = "fail"
    chunk: int
    kind: str
    item: int
    items: int
    final: bool
    #: a DeadLetter as JSON, kept if this was the last attempt
    letter: str


@dataclass(frozen=True, slots=True)
class Trim(Step):
    """The lease keeps [start, stop) only; the tail goes back."""

    what: ClassVar[str] = "trim"
    stop: int


@dataclass(frozen=True, slots=True)
class Release(Step):
    """What is left goes back; `lost`: the process died of something in it, nobody knows of what."""

    what: ClassVar[str] = "release"
    lost: bool = False


@dataclass(frozen=True, slots=True)
class ChoreDone(Step):
    """The chore is done; `data` is what `lua/chores.lua` describes."""

    what: ClassVar[str] = "chore"
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChoreFailed(Step):
    """The chore failed: finally, or to be tried again. `missing` chunks are opened again instead."""

    what: ClassVar[str] = "chore_failed"
    reason: str
    message: str
    final: bool = False
    missing: list[tuple[int, int]] = field(default_factory=list)
