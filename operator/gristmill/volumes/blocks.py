"""Content as it is stored: the bytes as they are, and after them the checks of its blocks, sealed with its digest.

A block has a check of its own so that a range is verified without reading the rest. Checks are XXH3 of 128 bits: they
find damage, at the speed of memory, where a second sha256 of every byte would double the work of writing and make
reading three times dearer. They do not stop a forger; whoever can write to the storage could write names as well.
Blocks are 1 MiB: a small read fetches no more, and the checks are 16 bytes in a million.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from gristmill.volumes.errors import Damaged

#: bytes of a block; the last may have fewer
BLOCK_BYTES = 1 << 20
_CHECK_BYTES = 16
_MAGIC = b"GMBLOCK1"
#: magic, size, sha256; and the seal: the sha256 of these and the checks
_FOOTER = struct.Struct(">8sQ32s")
_SEAL_BYTES = 32
_END_BYTES = _FOOTER.size + _SEAL_BYTES

Bytes = bytes | bytearray | memoryview


def cut(data: bytes) -> Iterator[memoryview]:
    """Yield the blocks of which bytes begin with the first of one."""
    view = memoryview(data)
    for begin in range(0, len(data), BLOCK_BYTES):
        yield view[begin : begin + BLOCK_BYTES]


def check_of(block: Bytes) -> bytes:
    """Return a block's check (XXH3 of 128 bits)."""
    return xxhash.xxh3_128_digest(block)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of content: bytes, sha256 (hexadecimal), and the checks of its blocks, one after the other."""

    size: int
    sha256: str
    checks: bytes

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return len(self.checks) // _CHECK_BYTES

    def check(self, block: int) -> bytes:
        """Return the check of a block."""
        return self.checks[block * _CHECK_BYTES : (block + 1) * _CHECK_BYTES]

    def encode(self) -> bytes:
        """Return it as it is stored after the content."""
        told = self.checks + _FOOTER.pack(_MAGIC, self.size, bytes.fromhex(self.sha256))
        return told + hashlib.sha256(told).digest()


def decode(data: bytes, sha256: str, size: int, file: str) -> Manifest:
    """Read what `Manifest.encode` returned. Damaged where it is not that of this content; `file` is for the error."""
    told, seal = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    if len(data) != end_bytes(size) or hashlib.sha256(told).digest() != seal:
        raise Damaged(file, None, "the list of its blocks does not match its seal")
    magic, found_size, found_sha256 = _FOOTER.unpack(told[-_FOOTER.size :])
    if magic != _MAGIC or found_size != size or found_sha256.hex() != sha256:
        raise Damaged(file, None, "at its digest is other content")
    return Manifest(size, sha256, told[: -_FOOTER.size])


def digest_in(end: Bytes) -> str:
    """Return the sha256 that the end of content names; "" where it is no such end."""
    told, seal = end[:-_SEAL_BYTES], end[-_SEAL_BYTES:]
    if len(end) < _END_BYTES or hashlib.sha256(told).digest() != seal:
        return ""
    sha256: bytes = _FOOTER.unpack(told[-_FOOTER.size :])[2]
    return sha256.hex()


def block_count(size: int) -> int:
    """Return how many blocks content of so many bytes has."""
    return -(-size // BLOCK_BYTES)


def end_bytes(size: int) -> int:
    """Return the bytes that follow content of so many bytes."""
    return block_count(size) * _CHECK_BYTES + _END_BYTES


def size_in(length: int) -> int:
    """Return the size of content by the bytes of its object; negative where no content has such an object."""
    length -= _END_BYTES
    return length - -(-length // (BLOCK_BYTES + _CHECK_BYTES)) * _CHECK_BYTES


def block_span(block: int, size: int) -> tuple[int, int]:
    """Return where a block begins and ends in content of so many bytes."""
    return block * BLOCK_BYTES, min(size, (block + 1) * BLOCK_BYTES)
