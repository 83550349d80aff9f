"""Where user code coordinates that runs here: beside the queue, if its job says that it does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gristmill.local.server import server_url

if TYPE_CHECKING:
    from gristmill.local.state import State, StoredJob


def say_where_to_coordinate(state: State, job: StoredJob) -> None:
    """Let this process and those that it starts coordinate where the job says so, and nowhere else, as in a pod.

    What the environment names itself is meant: what else coordinates there may not be in this run.
    """
    os.environ["GRISTMILL_JOB"] = job.uid
    if job.spec.get("coordination"):
        os.environ.setdefault("GRISTMILL_COORDINATION", server_url(state.queue))
    else:
        os.environ.pop("GRISTMILL_COORDINATION", None)
