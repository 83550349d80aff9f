"""Locks, elections and a configuration tree for any program: on a cluster by its own objects, elsewhere by a Valkey.

`connect()` gives a client for programs without an event loop; `aio.connect()` one for those that have one. `Token`
is what a lock's holder is told from others by, for who has its number alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gristmill.coordination.lock import Token as Token
    from gristmill.coordination.sync import connect as connect

__all__ = ["Token", "connect"]


def __getattr__(name: str) -> Any:
    """Import what there is when it is first used: what it needs takes a while."""
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from gristmill.coordination import sync

    return getattr(sync, name)
