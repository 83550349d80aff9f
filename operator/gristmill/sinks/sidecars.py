"""The file beside a final block that says that it is complete, what it has, and which of its items are dead.

Without it a block is not there: a writer that dies between block and sidecar leaves a file that nobody
believes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from gristmill.planning.values import DeadLetter

_FORMAT = 1


@dataclass(frozen=True)
class Sidecar:
    """A complete final block. `files`: of the format `files`, where the block itself is no file."""

    block: int
    name: str
    size: int
    sha256: str
    items: int
    dead: list[DeadLetter] = field(default_factory=list)
    files: list[dict[str, Any]] | None = None
    #: (chunk, its number of items) for the chunks that some of the dead items are of
    split: list[tuple[int, int]] = field(default_factory=list)

    @property
    def positions(self) -> list[tuple[int, int]]:
        """The (chunk, item) of each dead letter, in order."""
        return positions(self.dead)

    def to_json(self, plan_digest: str) -> bytes:
        """Return the file's content."""
        return orjson.dumps(
            {"format": _FORMAT, "plan": plan_digest, **asdict(self)}, option=orjson.OPT_SORT_KEYS
        )

    @classmethod
    def from_json(cls, data: bytes | None, plan_digest: str) -> Sidecar | None:
        """Read what `to_json` wrote; None when it is missing, broken or of another plan."""
        try:
            told = orjson.loads(data or b"null")
            if (told.pop("format"), told.pop("plan")) != (_FORMAT, plan_digest):
                return None
            return cls(**told | {"dead": [DeadLetter(**letter) for letter in told["dead"]]})
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def is_whole(self, size_of: Callable[[str], int | None]) -> bool:
        """Whether the files that it speaks of are there with their sizes; `size_of` tells that of a name."""
        if self.files is not None:
            return all(size_of(told["name"]) == told["bytes"] for told in self.files)
        return size_of(self.name) == self.size


def positions(dead: Iterable[DeadLetter]) -> list[tuple[int, int]]:
    """Return the (chunk, item) of each dead letter, in order."""
    return sorted((letter.chunk, letter.item) for letter in dead)


def of_files(files: list[dict[str, Any]]) -> tuple[int, str]:
    """Return bytes and digest of a block of the format `files`."""
    digest = hashlib.sha256(orjson.dumps(files, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return sum(told["bytes"] for told in files), digest
