"""A copy of a child that the user's code has forked must answer nothing: what it says would count as the child's."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NoReturn

_home = -1


def settle() -> None:
    """Make this process the one that answers."""
    global _home
    _home = os.getpid()


def end_copy() -> None:
    """Return, unless this is a copy of the process that answers: end it, as user code did not."""
    if _home not in (-1, os.getpid()):
        _end()


def ending_copies(combine: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a reduce function from which no copy comes back: it is called where parts and answers are made."""

    def combined(left: Any, right: Any) -> Any:
        try:
            return combine(left, right)
        finally:
            end_copy()

    return combined


def _end() -> NoReturn:
    try:
        os.write(2, b"a process made by os.fork came back from the function: ended (call os._exit in it)\n")
    finally:
        os._exit(1)
