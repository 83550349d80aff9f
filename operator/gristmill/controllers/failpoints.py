"""Places at which a test can have the operator killed: named by GRISTMILL_OPERATOR_DIES_AT, free when that is unset."""

from __future__ import annotations

import os
import signal

_NAME = os.environ.get("GRISTMILL_OPERATOR_DIES_AT", "")


def reach(name: str) -> None:
    """Die here, if a test wants that."""
    if name == _NAME:
        os.kill(os.getpid(), signal.SIGKILL)
