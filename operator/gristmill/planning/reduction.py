"""The fixed tree of a reduction: why a sum of floats has the same bits whoever added it.

The value of a dyadic interval is combine(value of its left half, value of its right half); a half without a value
(past the end, or dead) leaves the other half's value. So the result depends on the leaves alone, never on which
intervals were leased to whom. The stack is that of a Cartesian tree over the heights at which neighbours meet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gristmill.planning.intervals import meet


class TreeFold:
    """Folds values pushed in the order of their positions; a pushed value may itself be that of a dyadic interval."""

    def __init__(self, combine: Callable[[Any, Any], Any]) -> None:
        self._combine = combine
        self._positions: list[int] = []
        self._values: list[Any] = []

    def push(self, position: int, value: Any) -> None:
        """Add the value of the leaf at `position`, or of the dyadic interval that begins there."""
        positions, values = self._positions, self._values
        while len(positions) > 1 and meet(positions[-2], positions[-1]) < meet(positions[-1], position):
            self._merge()
        positions.append(position)
        values.append(value)

    def result(self) -> tuple[bool, Any]:
        """Return (True, value of all that was pushed), or (False, None) when nothing was. The fold ends with it."""
        while len(self._positions) > 1:
            self._merge()
        return (True, self._values[0]) if self._values else (False, None)

    def _merge(self) -> None:
        right = self._values.pop()
        self._positions.pop()
        self._values[-1] = self._combine(self._values[-1], right)


def fold_levels(values: list[Any], combine: Callable[[Any, Any], Any]) -> Any:
    """Return what TreeFold makes of values without gaps whose first position is aligned; one pass of `map` a level."""
    while len(values) > 1:
        odd = values[-1:] if len(values) & 1 else []
        values = list(map(combine, values[0::2], values[1::2])) + odd
    return values[0]
