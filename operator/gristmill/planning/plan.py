"""The immutable plan of a job: written before the first lease, never changed, named by its digest.

It says which chunk is what, not one line for each chunk: a plan over 10^12 items is as small as one over ten.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import orjson

#: a job has at most this many final blocks
MOST_BLOCKS = 1024
#: a final block has at least 2^this many chunks, so that a small job has few files
LEAST_HEIGHT = 4


def block_height(chunks: int) -> int:
    """Return H: a final block holds 2^H chunks, and H is as small as the two bounds allow."""
    last = max(chunks, 1) - 1
    return max(min(LEAST_HEIGHT, last.bit_length()), (last // MOST_BLOCKS).bit_length())


@dataclass(frozen=True)
class Plan:
    """What a job is made of. `source` is what `sources.open_source` needs to read any chunk; all of it is JSON."""

    #: of what the work is, without its code
    work_digest: str
    source: dict[str, Any]
    chunks: int
    #: None where only reading tells (lines)
    items: int | None
    #: a final block holds 2^block_height chunks
    block_height: int

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the plan's canonical JSON."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @property
    def chunk_items(self) -> int:
        """Items of every chunk but the last, 0 where only reading tells."""
        return int(self.source.get("size", 0))

    @property
    def last_chunk_items(self) -> int:
        """Items of the last chunk, 0 where only reading tells."""
        return self.items - (self.chunks - 1) * self.chunk_items if self.items else 0

    @property
    def blocks(self) -> int:
        """Number of final blocks."""
        return -(-self.chunks >> self.block_height) if self.chunks else 0

    def block_range(self, block: int) -> tuple[int, int]:
        """Return the chunks [start, stop) of a final block."""
        return block << self.block_height, min((block + 1) << self.block_height, self.chunks)

    def to_json(self) -> bytes:
        """Return the canonical JSON."""
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_json(cls, data: bytes) -> Plan:
        """Read what `to_json` wrote."""
        return cls(**orjson.loads(data))
