from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from gristmill.volumes.blocks import BLOCK_BYTES
from gristmill.volumes.store import ContentStore
from gristmill.volumes.verification import Finding, verify

MIB = BLOCK_BYTES
#: sizes at which something changes: inline, one block, held in memory, a draft
SIZES = (0, 1, 3072, 3073, MIB - 1, MIB, MIB + 1, 8 * MIB, 9 * MIB + 5)


@dataclass(frozen=True)
class Token:
    lock: str
    number: int


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(f"{seed} {size}").randbytes(size)


def findings(store: ContentStore) -> list[Finding]:
    found: list[Finding] = []
    verify(store.backend, found.append)
    return found


def objects(root: Path, kind: str) -> list[Path]:
    return sorted(path for path in (root / kind).rglob("*") if path.is_file())


def flip(path: Path, place: int, bit: int = 0) -> None:
    """Flip a bit of a file where it lies."""
    with path.open("r+b", buffering=0) as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ (1 << bit)]))
