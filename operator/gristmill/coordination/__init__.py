"""Locks, elections and a configuration tree for any program: on a cluster by its own objects, elsewhere by a Valkey.

`connect()` gives a client for programs without an event loop; `aio.connect()` one for those that have one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gristmill.coordination.sync import connect as connect

__all__ = ["connect"]


def __getattr__(name: str) -> Any:
    """Import `connect` when it is first used: what it needs takes a while."""
    if name != "connect":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from gristmill.coordination.sync import connect

    return connect
