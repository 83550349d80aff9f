"""What threads of one process share, and a forked child must have anew: connections, pools of threads, locks.

A child that goes on with its parent's connections reads the answers to its parent's calls, a pool has no threads there,
and a lock may be held by one that the child does not have.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

_T = TypeVar("_T")

_all: WeakSet[PerProcess[Any]] = WeakSet()


class PerProcess(Generic[_T]):
    """A value that is made again in each forked child."""

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        #: what this process has
        self.value = make()
        _all.add(self)

    def renew(self) -> None:
        """Make the value again."""
        self.value = self._make()


def _renew() -> None:
    for one in list(_all):
        one.renew()


os.register_at_fork(after_in_child=_renew)
