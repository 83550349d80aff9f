from __future__ import annotations

from collections.abc import Iterable

from gristmill.planning.plan import Plan
from gristmill.planning.values import DeadLetter
from gristmill.sinks import Sink, encode, encode_value


def plan_of(chunks: int, blocks: int = 4) -> Plan:
    """Return a plan of so many chunks in about so many blocks."""
    return Plan("spec", {"kind": "test"}, chunks, None, (max(chunks - 1, 0) // blocks).bit_length())


def letter(chunk: int, item: int = -1) -> DeadLetter:
    return DeadLetter(chunk, item, 1, "error", 3, "worker", "ValueError: bad", "Traceback …", "input", 1.5)


def write(sink: Sink, start: int, pieces: Iterable[tuple[int, bytes, int]], nonce: str) -> bool:
    """Write one part of (stop, payload, items) pieces; say whether it became the block."""
    writer = sink.begin(start >> sink.plan.block_height, start, nonce)
    for stop, payload, items in pieces:
        writer.append(stop, payload, items)
    return writer.close().direct


def write_values(sink: Sink, start: int, pieces: Iterable[tuple[int, object]], nonce: str) -> bool:
    """Write one part of (stop, value) pieces, None standing for no value."""
    writer = sink.begin(start >> sink.plan.block_height, start, nonce)
    for stop, value in pieces:
        writer.append_value(stop, b"" if value is None else encode_value(value), 1)
    return writer.close().direct


def lines(*values: object) -> bytes:
    return encode(list(values))
