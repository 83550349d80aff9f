"""A copy of a child that the user's code has forked must answer nothing: what it says would count as the child's."""

from __future__ import annotations

import os
from typing import NoReturn

_home = -1


def settle() -> None:
    """Make this process the one that answers."""
    global _home
    _home = os.getpid()


def end_copy() -> None:
    """Return, unless this is a copy of the process that answers: end it, as user code did not."""
    if _home not in (-1, os.getpid()):
        _end()


def _end() -> NoReturn:
    try:
        os.write(2, b"a process made by os.fork came back from the function: ended (call os._exit in it)\n")
    finally:
        os._exit(1)
