"""A worker in a pod: everything it must know to begin is in its environment; what user code prints is its output."""

from __future__ import annotations

import os
import secrets
import signal
import sys

#: seconds that a worker stays for which there is no work any more
_IDLE_SECONDS = 600


def main() -> int:
    """Work for the job that the environment names until it ends or SIGTERM comes; return the exit code.

    SIGTERM waits from the first moment on until it is handled: the first process of a container is sent none that it
    neither handles nor blocks, and one that comes while this one imports would be lost.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    from gristmill.errors import LoadError
    from gristmill.worker.capture import Log
    from gristmill.worker.service import supervise

    missing = [name for name in ("GRISTMILL_QUEUE_URL", "GRISTMILL_JOB") if not os.environ.get(name)]
    if missing:
        print(f"error: the environment has no {' and no '.join(missing)}", file=sys.stderr)
        return 2
    url, job = os.environ["GRISTMILL_QUEUE_URL"], os.environ["GRISTMILL_JOB"]
    if _has_ended(url, job):
        _stay()
        return 0
    name = os.environ.get("GRISTMILL_WORKER", "worker")
    try:
        supervise(
            url,
            job,
            f"{name}-{secrets.token_hex(2)}",  # (a container may be started again in its pod)
            Log(sys.stdout.buffer),
            durable=bool(os.environ.get("GRISTMILL_DURABLE")),
            is_replaced=True,
        )
    except LoadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _has_ended(url: str, job: str) -> bool:
    from gristmill import settings
    from gristmill.protocol.client import Queue, connect
    from gristmill.protocol.refusals import NoSuchJob

    def leave() -> None:
        if signal.SIGTERM in signal.sigpending():
            sys.exit(0)

    queue = Queue(connect(url), job, admission=settings.ADMISSION_SECONDS)
    queue.on_wait = leave
    try:
        phase = queue.status()["job"]["phase"]
    except NoSuchJob:  # (not yet)
        return False
    return phase in ("complete", "failed", "removed")


def _stay() -> None:
    """Wait to be stopped: were this pod to end, another would be started, and so on, while the operator is away."""
    print("the job has ended: this worker waits to be stopped", file=sys.stderr, flush=True)
    signal.sigtimedwait([signal.SIGTERM], _IDLE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
