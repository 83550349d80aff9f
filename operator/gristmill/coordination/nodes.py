"""A node of a configuration tree as programs see it, and what happens to it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from gristmill.coordination.errors import BadValue
from gristmill.coordination.port import Record

#: fields of a node's record: its path; the last number that a sequential child was given; the lock, and the number of
#: its token, for whose holder it was written last
PATH, COUNTER, FENCE_LOCK, FENCE_NUMBER = "path", "counter", "fence-lock", "fence-number"

#: digits of the number that a sequential node gets
DIGITS = 10
_NUMBERED = re.compile(rf"[0-9]{{{DIGITS}}}\Z")


class Node(NamedTuple):
    """A node as it was at a version; versions rise with every write to the tree.

    (A tuple is made in a third of the time of a frozen dataclass, and each `get` makes one.)
    """

    path: str
    value: bytes
    version: int
    #: whether it goes with the session that made it
    ephemeral: bool = False

    @property
    def name(self) -> str:
        """The last word of the path; "" of the root."""
        return self.path.rpartition("/")[2]

    @property
    def text(self) -> str:
        """The value as text. BadValue where it is none."""
        try:
            return self.value.decode()
        except UnicodeDecodeError as error:
            raise BadValue(
                f"{self.path}: the value is no text (UTF-8): use .value, which has its bytes ({error})"
            ) from None

    @property
    def json(self) -> Any:
        """The value, read as JSON. BadValue where it is none."""
        try:
            return json.loads(self.value)
        except (ValueError, RecursionError) as error:
            raise BadValue(f"{self.path}: the value is no JSON: use .text or .value ({error})") from None


class EventKind(StrEnum):
    """What happened to a node."""

    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a node; `node` is it after that, or as it was when it was deleted."""

    kind: EventKind
    node: Node

    @property
    def path(self) -> str:
        """The node's path."""
        return self.node.path


@dataclass(frozen=True, slots=True)
class Resync:
    """Changes may have been missed. The events that follow lead to what is there at `version`."""

    version: int


def node_of(record: Record) -> Node:
    """Return the node that a record is."""
    return Node(record.fields.get(PATH, ""), record.value, record.revision, record.owner is not None)


def number_at_end(path: str) -> int:
    """Return the number that a sequential node got, which may come after another digit; 0 of other nodes."""
    found = _NUMBERED.search(path)
    return int(found[0]) if found else 0


def bytes_of(path: str, value: Any) -> bytes:
    """Return a value as it is kept: bytes and text as they are, all else as JSON. BadValue where it is none."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    try:
        if isinstance(value, str):
            return value.encode()
        return json.dumps(
            value, ensure_ascii=False, sort_keys=isinstance(value, Mapping), allow_nan=False
        ).encode()
    except UnicodeEncodeError as error:
        raise BadValue(f"{path}: the value is no text (UTF-8): give its bytes ({error})") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise BadValue(
            f"{path}: the value is neither bytes nor text, and can't be written as JSON: {error}"
        ) from None
