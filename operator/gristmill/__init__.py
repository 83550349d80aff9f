"""Gristmill: run one function over a mountain of data, in chunks, and lose nothing.

`run` and `Run` are loaded when they are first used, so that a worker does not pay for the runner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gristmill.client.run import Run
    from gristmill.local.run import run

__all__ = ["Run", "run"]


def __getattr__(name: str) -> Any:
    if name == "run":
        from gristmill.local.run import run

        return run
    if name == "Run":
        from gristmill.client.run import Run

        return Run
    raise AttributeError(f"module 'gristmill' has no attribute {name!r}")
