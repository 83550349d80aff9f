"""Gristmill against its peers on one measure: the rows that most benchmarks come down to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.harness import Options, Side, alternate
from benchmarks.rows import Row


@dataclass(frozen=True)
class Against:
    """A peer, and how many times as fast as it we must be (target) and want to be (goal)."""

    side: Side
    target: float | None = None
    goal: float | None = None


def compare(
    name: str,
    ours: Side,
    peers: Sequence[Against],
    options: Options,
    *,
    number: str = "rate",
    unit: str = "items/s",
    also: Sequence[str] = (),
) -> list[Row]:
    """Measure all sides in turns. Ratios are of medians, always so that larger is better for us.

    `number` is what the sides return and the ratio is of; `also` are further numbers, shown without a ratio.
    """
    series = alternate(name, [ours, *(peer.side for peer in peers)], options)
    rows = []
    for side, measured, peer in zip([ours, *(p.side for p in peers)], series, [None, *peers], strict=True):
        limits = {"target": peer.target, "goal": peer.goal} if peer else {}
        if measured.problem:
            rows.append(Row(name, side.variant, unit, problem=measured.problem, **limits))
            continue
        ratio = None
        if peer and not series[0].problem:
            ratio = median(series[0][number]) / median(measured[number])
            if unit == "s":
                ratio = 1 / ratio
        rows.append(Row.of(name, side.variant, unit, measured[number], ratio=ratio, **limits))
        for other in also:
            if other in measured.rounds[0]:
                label = f"{side.variant}, {other.removeprefix('rate_').replace('_', ' ')}"
                rows.append(Row.of(name, label, unit, measured[other]))
    return rows
