"""A worker in a pod: everything it must know to begin is in its environment; what user code prints is its output."""

from __future__ import annotations

import os
import secrets
import sys

from gristmill.worker.capture import Log
from gristmill.worker.service import supervise


def main() -> int:
    """Work for the job that the environment names until it ends or SIGTERM comes; return the exit code."""
    missing = [name for name in ("GRISTMILL_QUEUE_URL", "GRISTMILL_JOB") if not os.environ.get(name)]
    if missing:
        print(f"error: the environment has no {' and no '.join(missing)}", file=sys.stderr)
        return 2
    name = os.environ.get("GRISTMILL_WORKER", "worker")
    supervise(
        os.environ["GRISTMILL_QUEUE_URL"],
        os.environ["GRISTMILL_JOB"],
        f"{name}-{secrets.token_hex(2)}",  # (a container may be started again in its pod)
        Log(sys.stdout.buffer),
        durable=bool(os.environ.get("GRISTMILL_DURABLE")),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
