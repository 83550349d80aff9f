"""Numbers that people may tune, each with its unit. An environment variable GRISTMILL_<NAME> overrides one."""

from __future__ import annotations

import math
import os

from gristmill.errors import UsageError


def _number(name: str, default: float) -> float:
    text = os.environ.get(f"GRISTMILL_{name}")
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise UsageError(f"the environment variable GRISTMILL_{name} is {text!r}; it must be a number")
    return number


#: seconds of work that a lease aims at
LEASE_WORK_SECONDS = _number("LEASE_WORK_SECONDS", 1.0)
#: no interval is higher than 2^this (chunks)
MAX_HEIGHT = int(_number("MAX_HEIGHT", 24))
#: seconds of work between two looks at the clock in a child: its progress is announced that often
SLICE_SECONDS = _number("SLICE_SECONDS", 0.02)
#: seconds after which a child hands over what it has, even in the middle of an interval
PIECE_SECONDS = _number("PIECE_SECONDS", 5.0)
#: bytes of results after which a child hands them over, where they go through the queue
PIECE_BYTES = int(_number("PIECE_BYTES", 1 << 20))
#: bytes of results that go through the queue at once: a server takes 512 MiB, and those of some children come together
RESULT_BYTES = int(_number("RESULT_BYTES", 128 << 20))
#: bytes of uncollected results above which nothing but the lowest open chunk is leased
WINDOW_BYTES = int(_number("WINDOW_BYTES", 64 << 20))
#: seconds that the queue may take for an answer; then the call is repeated on a new connection
ANSWER_SECONDS = _number("ANSWER_SECONDS", 30)
#: seconds that a call to the queue is repeated while the server can't be reached
RECONNECT_SECONDS = _number("RECONNECT_SECONDS", 120)
#: seconds that a worker waits for its user where a queue is new: the operator makes it there
ADMISSION_SECONDS = _number("ADMISSION_SECONDS", 30)
#: seconds that a stopping worker waits for the chunk that runs
DRAIN_SECONDS = _number("DRAIN_SECONDS", 10)
#: bytes of captured output kept for each worker
LOG_BYTES = int(_number("LOG_BYTES", 16 << 20))
