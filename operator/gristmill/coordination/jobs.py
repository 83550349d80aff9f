"""Coordination in a ChunkJob's function: what gives it the right to, and how it is told that it has none."""

from __future__ import annotations

import os

from gristmill.coordination.errors import Denied

#: is in the environment of the workers of a ChunkJob
_JOB = "GRISTMILL_JOB"


def is_in_job() -> bool:
    """Whether this program is a ChunkJob's function, or was started by it."""
    return bool(os.environ.get(_JOB))


def not_allowed() -> Denied:
    """Return what a ChunkJob's function is told that was given no place to coordinate."""
    return Denied("this ChunkJob may not coordinate: write `coordination: true` into its spec")
