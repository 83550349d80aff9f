"""A billion chunks against ten: neither the first commit nor the queue's memory may tell them apart."""

from __future__ import annotations

from statistics import median

from benchmarks.harness import Options, Side, alternate
from benchmarks.rows import Row

NAME = "scale"
SUMMARY = "10^9 chunks: time to the first commit over that of ten chunks, and the queue's memory less theirs"
CHUNKS = {"10 chunks": 10, "10^9 chunks": 10**9}


def run(options: Options) -> list[Row]:
    """Measure both sizes in turns, at both durabilities; the job is stopped after its first commit."""
    rows = []
    for durability in ("everysec", "always"):
        sides = [
            Side(f"{label}, {durability}", "ours:first_commit", {"chunks": chunks, "durability": durability})
            for label, chunks in CHUNKS.items()
        ]
        rows += _rows(sides, options)
    return rows


def _rows(sides: list[Side], options: Options) -> list[Row]:
    few, many = alternate(NAME, sides, options)
    rows = []
    for number, label, unit, target in (
        ("seconds", "first commit", "s", 1.2),
        ("memory", "queue memory", "MiB", 1.0),
    ):
        for side, series in zip(sides, (few, many), strict=True):
            variant = f"{label}, {side.variant}"
            if series.problem:
                rows.append(Row(NAME, variant, unit, problem=series.problem, target=target, at_most=True))
                continue
            row = Row.of(NAME, variant, unit, series[number])
            if series is many and not few.problem:
                ours, theirs = median(many[number]), median(few[number])
                ratio = ours / theirs if number == "seconds" else ours - theirs
                row = row.against(ratio, target=target, at_most=True)
            rows.append(row)
    return rows
