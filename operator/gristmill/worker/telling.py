"""What a child tells its supervisor, some messages at a time: alone, each would cost as much as short chunks do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gristmill.planning.values import Lease
from gristmill.worker.outputs import Handed

#: seconds for which hand-overs of whole blocks are held, to be committed together
_HOLD = 0.2
#: seconds for which messages wait for those of the next lease, where that is there already
_WAIT = 0.005


class Telling:
    """Collects messages; `tell` sends them."""

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell
        self._messages: list[tuple[Any, ...]] = []
        self._sent = 0.0
        self._held: Handed | None = None
        self._held_since = 0.0

    def add(self, *message: Any) -> None:
        """Add a message."""
        self._messages.append(message)

    def send(self) -> None:
        """Send what was added."""
        if self._messages:
            messages, self._messages = self._messages, []
            self._sent = time.monotonic()
            self._tell(*messages)

    def end(self, lease: Lease, seconds: float, more: bool) -> None:
        """Tell that a lease has ended; `more`: another one is there, so all may wait a moment for its messages."""
        self.add("end", lease.nonce, seconds)
        if not more or time.monotonic() - self._sent > _WAIT:
            self.send()

    def done(self, lease: Lease, handed: Handed) -> None:
        """Tell what may be committed."""
        self.add("done", lease.nonce, handed.upto, handed.items, handed.direct, handed.payload)

    def hand(self, lease: Lease, handed: Handed | None) -> None:
        """Tell what may be committed; whole blocks are held for a moment, to be told together."""
        if handed is None:
            return
        held, self._held = self._held, None
        if held is not None:
            if handed.direct:
                handed = Handed(handed.upto, held.items + handed.items, True)
            else:
                self.done(lease, held)
        elif handed.direct:
            self._held_since = time.monotonic()
        if handed.direct and time.monotonic() - self._held_since < _HOLD:
            self._held = handed
        else:
            self.done(lease, handed)

    def let_go(self, lease: Lease) -> None:
        """Tell what is held."""
        held, self._held = self._held, None
        if held is not None:
            self.done(lease, held)

    def forget(self) -> None:
        """Hold nothing any more, and tell nothing of it."""
        self._held = None
