"""What locks and the configuration tree need of a server: records, changed under conditions, and watched.

Two adapters do it: `kube` with Leases and ConfigMaps, `valkey` with one script. All that is promised of locks and trees
is made of these few calls, once, and one suite of tests holds both adapters to them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from gristmill.coordination.errors import Refused


class Kind(StrEnum):
    """What a record is for; it says what it is on a cluster."""

    LOCK = "lock"
    SESSION = "session"
    NODE = "node"


#: fields of a lock or session that a cluster's Lease has, too: who holds it, for how many seconds, since when, when
#: that was last renewed, and how often it has changed hands
HOLDER, SECONDS, ACQUIRED, RENEWED, TRANSITIONS = "holder", "seconds", "acquired", "renewed", "transitions"

#: bytes that a value may have: those of a ConfigMap, less its key, everywhere, so that what works in one place does in
#: the other
MOST_BYTES = (1 << 20) - (1 << 10)

#: a field's new text, or None: it is not there (any more)
Changes = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Owner:
    """A session, with which what it owns goes."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was at a revision.

    `group` is the tree of a node or session, "" for a lock. `revision` rises with every write to any record, also
    across deletion; `uid` is another where a record was deleted and made again.
    """

    kind: Kind
    name: str
    group: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    value: bytes = b""
    owner: Owner | None = None
    revision: int = 0
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A write that was watched: the record after it, or as it was when it was deleted; None where only time has passed.

    `revision` is the write's own, and that from which to watch on.
    """

    revision: int
    record: Record | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """The records of a kind: of a group, or one by its name, or all."""

    kind: Kind
    group: str = ""
    name: str = ""

    def __str__(self) -> str:
        """Return what they are, for people."""
        if self.name:
            return f"the {self.kind} {self.name}"
        return f"the {self.kind}s" + (f" of tree {self.group}" if self.group else "")


def check_size(value: bytes) -> None:
    """Raise Refused where a value is larger than a server takes."""
    if len(value) > MOST_BYTES:
        raise Refused(
            f"a value of {len(value):,} bytes is too large, it may have {MOST_BYTES:,}: "
            "put it into a file, and its URL here"
        )


class Store(Protocol):
    """A server's records. Every call may raise Unavailable, Denied and Refused."""

    async def get(self, kind: Kind, name: str) -> Record | None:
        """Return a record as it is now, or None."""
        ...

    async def list(self, scope: Scope) -> tuple[Sequence[Record], int]:
        """Return the records, and the revision at which they were so."""
        ...

    async def create(self, record: Record) -> Record:
        """Make a record, and return it as it is then. Exists where its name is taken.

        Where its owner is gone it is refused (Missing), or goes soon.
        """
        ...

    async def update(
        self,
        kind: Kind,
        name: str,
        changes: Changes,
        *,
        value: bytes | None = None,
        where: Changes | None = None,
        revision: int | None = None,
    ) -> Record:
        """Change fields, and the value unless that is None, where fields are as `where` says and the revision is this.

        Returns the record after it. Conflict where something is otherwise; Missing where there is none.
        """
        ...

    async def delete(self, kind: Kind, name: str, *, revision: int | None = None, uid: str = "") -> None:
        """Delete a record that has this revision and uid. Conflict where it has others; Missing where there is none."""
        ...

    def watch(self, scope: Scope, revision: int) -> AsyncIterator[Change]:
        """Yield every change after a revision in its order, without end, and one without a record where it begins.

        HistoryGone where some are not known any more. Where it raises something else it can be begun again, from the
        last revision that was told.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
