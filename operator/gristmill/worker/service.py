"""A worker from start to end: it begins anew when the queue does."""

from __future__ import annotations

import time

from gristmill import settings
from gristmill.protocol.client import Queue, connect
from gristmill.protocol.refusals import NoSuchJob
from gristmill.worker.capture import Log
from gristmill.worker.leaving import Leave, Leaving
from gristmill.worker.supervisor import Restart, Supervisor

#: seconds between two tries to begin, while the queue does not know the job
_AGAIN = 0.05


def supervise(
    queue_url: str,
    job: str,
    worker: str,
    log: Log,
    *,
    durable: bool = False,
    parent: int | None = None,
    is_replaced: bool = False,
) -> bool:
    """Work for a job until it ends or SIGTERM comes; return whether it has ended. Whoever starts a worker names it.

    `log` takes what user code prints. `parent`: pid of a process whose end ends this worker too. `is_replaced`: whoever
    started it starts another when it fails, later and later; so it raises LoadError, and does not fail the job, where
    others have loaded the code and it can't.
    """
    leaving = Leaving(parent)
    queue = Queue(connect(queue_url), job, durable=durable, admission=settings.ADMISSION_SECONDS)
    queue.on_wait = leaving.check
    code: dict[str, str] = {}
    try:
        while True:
            try:
                Supervisor(queue, worker, log, leaving, code, is_replaced=is_replaced).run()
                return True
            except (Restart, NoSuchJob):
                leaving.check()
                time.sleep(_AGAIN)
    except Leave:
        return False
    finally:
        log.close()
