"""The format of a staged part: payload, JSON footer, the footer's length, a magic.

A footer at the end needs no second pass, and what was cut off has none. A reader trusts a part only when
magic, lengths, version and the plan's digest agree.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gristmill.planning.values import Segment
from gristmill.sinks.store import Store

_FORMAT = 1
_MAGIC = b"GRISTP\r\n"
_END = struct.Struct("<Q8s")
_TAIL = 16 << 10
#: parts whose ends are read together
_AT_ONCE = 256


@dataclass(frozen=True)
class Part:
    """A staged part: its name, its segments, and for fragments the number of items of the split chunk."""

    name: str
    segments: list[Segment]
    total: int


def footer(plan_digest: str, segments: Sequence[Sequence[Any]], payload: int, total: int = 0) -> bytes:
    """Return what follows a payload of so many bytes; a segment is the fields of `Segment` in order."""
    body = orjson.dumps(
        {"format": _FORMAT, "plan": plan_digest, "payload": payload, "segments": segments, "total": total}
    )
    return body + _END.pack(len(body), _MAGIC)


def read_parts(store: Store, files: Sequence[tuple[str, int]], plan_digest: str) -> list[Part]:
    """Read the footers of files (name, size); broken and foreign ones are left out."""
    parts = []
    for first in range(0, len(files), _AT_ONCE):
        some = files[first : first + _AT_ONCE]
        for (name, size), tail in zip(some, store.read_ends(some, _TAIL), strict=True):
            length = _footer_length(tail, size)
            if tail is None or not length:
                continue
            if length > len(tail):
                tail = store.read_ends([(name, size)], length)[0] or b""  # noqa: PLW2901
            part = _parse(name, tail[-length : -_END.size], size - length, plan_digest)
            if part:
                parts.append(part)
    return parts


def _footer_length(tail: bytes | None, size: int) -> int:
    """Return the bytes of a footer with its end, or 0 when there is none."""
    if tail is None or len(tail) < _END.size:
        return 0
    length, magic = _END.unpack(tail[-_END.size :])
    return length + _END.size if magic == _MAGIC and length + _END.size <= size else 0


def _parse(name: str, body: bytes, payload: int, plan_digest: str) -> Part | None:
    try:
        told = orjson.loads(body)
        if (told["format"], told["plan"], told["payload"]) != (_FORMAT, plan_digest, payload):
            return None
        return Part(name, [Segment(*fields) for fields in told["segments"]], told["total"])
    except (ValueError, KeyError, TypeError):
        return None
