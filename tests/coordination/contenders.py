"""Processes that all want one lock, at once: `python -m tests.coordination.contenders NUMBER ROUNDS FILE`.

Where they meet is said by the environment. Each writes a line to FILE when it has the lock, and one before it gives it
up. What they need is imported once, and before they part.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress

from gristmill.coordination import sync


def contend(number: int, rounds: int, file: int, client: sync.Client) -> None:
    """Take the lock so often, one time after the other."""
    for _ in range(rounds):
        with client.lock("wanted", seconds=60) as lock:
            os.write(file, f"in {number} {lock.token.number}\n".encode())
            time.sleep(0.001)  # (its work)
            os.write(file, f"out {number} {lock.token.number}\n".encode())


def main() -> int:
    """Start all at once; return how many have failed."""
    with suppress(ImportError):
        import kubernetes.aio.client
        import kubernetes.aio.config  # noqa: F401
    number, rounds = map(int, sys.argv[1:3])
    file = os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    children = []
    for n in range(number):
        if (child := os.fork()) == 0:
            with sync.connect() as client:
                contend(n, rounds, file, client)
            os._exit(0)
        children.append(child)
    return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main())
