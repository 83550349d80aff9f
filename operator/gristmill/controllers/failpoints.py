"""Places at which a test can have the operator end: named by GRISTMILL_OPERATOR_DIES_AT, free when that is unset.

One after each kind of write: to the API server (`POST Job`, `PATCH ChunkJob/status`), to the queue (`AdmitToQueue`).
"""

from __future__ import annotations

import os

_NAME = os.environ.get("GRISTMILL_OPERATOR_DIES_AT", "")


def reach(name: str) -> None:
    """End here as by SIGKILL, if a test wants that: a container's first process can't be killed from inside."""
    if name == _NAME:
        os._exit(137)
