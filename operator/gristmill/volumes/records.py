"""What is written at a name: a line that says which content is meant, and small content itself after it.

All lines have one length. So a listing, which tells how many bytes each object has, tells the size of a small file
without reading it; and an object as long as the line alone is a reference, which has to be read.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol

from gristmill.volumes.errors import BadName, Damaged, Fenced

#: bytes of content that stand in the record itself: with it they still fit into one block of most disks, so a second
#: copy of such content costs nothing that its name does not cost anyway
MOST_INLINE = 3 << 10

_LINE = re.compile(
    rb"gristmill-name-1 ([0-9a-f]{64}) ([0-9]{16}) ([0-9a-f]{16}) ([0-9]{20}) ([0-9a-f]{32})\n"
)
#: bytes of the line
LINE_BYTES = 17 + 65 + 17 + 17 + 21 + 33
#: bytes that a record may have
MOST_BYTES = LINE_BYTES + MOST_INLINE
_CHECK_AT = LINE_BYTES - 33
_NO_LOCK = "0" * 16
_MOST_NUMBER = 10**20 - 1


class Token(Protocol):
    """Tells an earlier holder of a lock from a later one, whose number is higher (`coordination.lock.Token`)."""

    @property
    def lock(self) -> str:
        """The lock's name."""

    @property
    def number(self) -> int:
        """The holder's number."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Of which lock and by which of its holders a name was written; 0: by none."""

    lock: str = _NO_LOCK
    number: int = 0

    @classmethod
    def of(cls, token: Token | None) -> Fence:
        """Return what is kept of a token. The lock's name is kept as a digest: the line has one length."""
        if token is None:
            return cls()
        if not 0 < token.number <= _MOST_NUMBER:
            raise BadName(f"a token's number is from 1 to {_MOST_NUMBER}, and not {token.number}")
        return cls(hashlib.sha256(token.lock.encode()).hexdigest()[:16], token.number)

    def check(self, path: str, token: Token | None) -> None:
        """Raise Fenced where a token is older than the one that wrote this, or of another lock."""
        if token is None or self.number == 0:
            return
        given = Fence.of(token)
        if given.lock != self.lock:
            raise Fenced(
                f"{path} is written by holders of another lock than {token.lock}: take that lock, or remove the file"
            )
        if given.number < self.number:
            raise Fenced(
                f"{path} was written by a later holder of lock {token.lock} (token {self.number}, and not "
                f"{token.number}): the lock was lost; take it again and decide again"
            )


@dataclass(frozen=True, slots=True)
class Record:
    """What a name means: content by size and digest; `inline` is the content where it is small."""

    size: int
    sha256: str
    inline: bytes | None = None
    fence: Fence = Fence()

    def encode(self, file: str) -> bytes:
        """Return it as it is stored for a name, with a check of all of it, and of the name."""
        fence = self.fence
        begin = f"gristmill-name-1 {self.sha256} {self.size:016} {fence.lock} {fence.number:020} ".encode()
        inline = self.inline or b""
        return begin + _check(begin, inline, file) + b"\n" + inline


def decode(data: bytes, file: str) -> Record:
    """Read what `encode` returned for a name. Damaged where it is not that."""
    match = _LINE.match(data)
    inline = data[LINE_BYTES:]
    if match is None or match[5] != _check(data[:_CHECK_AT], inline, file):
        raise Damaged(file, None, "its name's record does not match its check")
    size = int(match[2])
    is_inline = size <= len(inline)  # (0 bytes of an empty file stand here, too)
    fence = Fence(match[3].decode(), int(match[4]))
    return Record(size, match[1].decode(), inline if is_inline else None, fence)


def listed_size(length: int) -> int | None:
    """Return a file's size by the bytes of its record; None where the record has to be read."""
    return length - LINE_BYTES if length > LINE_BYTES else None


def _check(begin: bytes, inline: bytes, file: str) -> bytes:
    return hashlib.sha256(b"%b%b\n%b" % (begin, inline, file.encode())).hexdigest()[:32].encode()
