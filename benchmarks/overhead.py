"""Functions that are busy for a millisecond: how near a job comes to the time that its work alone takes."""

from __future__ import annotations

from statistics import median

from benchmarks.harness import Options, Side, alternate
from benchmarks.rows import Row

NAME = "overhead"
#: a worker that is silent for so long loses what it holds
LEASE_SECONDS = 5
SUMMARY = "60 s of functions that spin 1 ms, and one of two workers killed: wall time over the ideal"


def run(options: Options) -> list[Row]:
    """Compare wall time, start-up and all, with the ideal; after a kill, less the lease's time-out."""
    seconds = options.pick(60, 10)
    calm = Side("gristmill, calm", "ours:spin", {"seconds": seconds, "lease": LEASE_SECONDS})
    killed = Side(
        "gristmill, a worker killed", "ours:spin", {"seconds": seconds, "lease": LEASE_SECONDS, "kill": True}
    )
    rows = []
    for side, series in zip((calm, killed), alternate(NAME, (calm, killed), options), strict=True):
        limits = {"target": 1.05, "goal": 1.02 if side is calm else None, "at_most": True}
        if series.problem:
            rows.append(Row(NAME, side.variant, "s", problem=series.problem, **limits))
            continue
        allowed = LEASE_SECONDS if side is killed else 0
        ratio = (median(series["seconds"]) - allowed) / seconds
        rows.append(Row.of(NAME, side.variant, "s", series["seconds"]).against(ratio, **limits))
    return rows
