"""A result is what the function returned: what it does later to a list or dict that it gave away changes nothing.

Numbers and text can't change. Anything else is written at once, before the function is called again, which takes
longer than to write many results together; so a function that has given only such as can't change is trusted to go
on, and what it gives then is looked at once more where it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from gristmill.sinks import encode_value

#: so many results in a row that can't change, and a function is trusted
_TRUSTED = 1000
_FIXED = (str, bytes, int, float, type(None))
_KINDS = frozenset({*_FIXED, bool})


class UnfixedResults(Exception):  # noqa: N818 (it is no fault)
    """Among results that were trusted is one that may have changed since: they have to be made again."""


class Fixer:
    """Takes results of one function, one after the other, and gives what can't change any more."""

    def __init__(self) -> None:
        self._left = _TRUSTED

    @property
    def trusts(self) -> bool:
        """Whether results need not be fixed, but only looked at where they are written."""
        return self._left <= 0

    def fix(self, result: Any) -> Any:
        """Return the result, or what it is as JSON now. ResultError (of index 0) when it is not JSON."""
        if isinstance(result, _FIXED):
            self._left -= 1
            return result
        self.distrust()
        return orjson.Fragment(encode_value(result))

    def distrust(self) -> None:
        """Fix all results from now on."""
        self._left = 1 << 62


def check_fixed(results: Sequence[Any]) -> None:
    """Raise UnfixedResults when one of the results may have changed since the function gave it."""
    if not _KINDS.issuperset(map(type, results)) and not all(
        isinstance(result, _FIXED) for result in results
    ):
        raise UnfixedResults
