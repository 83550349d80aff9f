"""What a copy of this process, forked by the user's code, must let go: pipes and locks whose end others wait for."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Held(Protocol):
    """Something that belongs to the process that made it."""

    def leave(self) -> None:
        """Let it go in a copy of that process; the original keeps it."""


_held: WeakSet[Held] = WeakSet()


def keep_from_copies(held: Held) -> None:
    """Have something let go in every copy of this process, as long as it is there."""
    _held.add(held)


def _leave_all() -> None:
    for held in list(_held):
        held.leave()


os.register_at_fork(after_in_child=_leave_all)
