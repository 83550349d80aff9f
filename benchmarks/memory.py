"""Ten million items to an output URL: the most memory that any process of the run ever had resident."""

from __future__ import annotations

from statistics import median

from benchmarks.harness import Options, Side, alternate
from benchmarks.rows import Row

NAME = "memory"
SUMMARY = "10 million items to an output URL: peak resident MiB of each kind of process"
TARGET = 150


def run(options: Options) -> list[Row]:
    """Run the command line and read the kernel's high-water marks; the ratio is the median itself, in MiB."""
    side = Side("gristmill run", "commands:memory", {"items": options.pick(10_000_000, 1_000_000)})
    (series,) = alternate(NAME, [side], options)
    if series.problem:
        return [Row(NAME, side.variant, "MiB", problem=series.problem, target=TARGET, at_most=True)]
    rows = []
    for role in series.rounds[0]:
        row = Row.of(NAME, f"gristmill run, {role}", "MiB", series[role])
        rows.append(row.against(median(series[role]), target=TARGET, at_most=True))
    return rows
