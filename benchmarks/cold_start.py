"""A job of ten chunks by the command line, whole process, over the imports that it can't do without."""

from __future__ import annotations

from statistics import median

from benchmarks.harness import Options, Side, alternate
from benchmarks.rows import Row

NAME = "cold-start"
SUMMARY = "`gristmill run` of ten chunks, whole process: seconds beyond importing the same modules"
TARGET = 0.25


def run(options: Options) -> list[Row]:
    """Measure imports and run, one after the other; the ratio is their difference in seconds."""
    (series,) = alternate(NAME, [Side("gristmill run", "commands:cold_start", {})], options)
    if series.problem:
        return [Row(NAME, "gristmill run", "s", problem=series.problem, target=TARGET, at_most=True)]
    difference = median(series["difference"])
    return [
        Row.of(NAME, "imports alone", "s", series["imports"]),
        Row.of(NAME, "gristmill run", "s", series["run"]).against(difference, target=TARGET, at_most=True),
    ]
