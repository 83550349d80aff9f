"""Sizes as Kubernetes writes them (`8Mi`, `1G`), because that is how people write them everywhere else."""

from __future__ import annotations

import math
import re
from fractions import Fraction

UNITS = {
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
}
SENTENCE = "must be a number of bytes or a quantity such as 8Mi"
PATTERN = rf"([0-9]{{1,19}}(?:\.[0-9]{{1,9}})?)({'|'.join(UNITS)}|)"

_QUANTITY = re.compile(PATTERN)


def parse_quantity(value: int | str) -> int:
    """Return the bytes that a quantity means; a part of a byte is rounded up. ValueError where it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(SENTENCE)
    number, unit = match.groups()
    return math.ceil(Fraction(number) * UNITS.get(unit, 1))


def format_quantity(number: int) -> str:
    """Return a number of bytes as a quantity, exactly, and as the API server would: 512Mi, 1G, 1001."""
    for unit in ("Pi", "Ti", "Gi", "Mi", "Ki", "P", "T", "G", "M", "k"):
        if number and number % UNITS[unit] == 0:
            return f"{number // UNITS[unit]}{unit}"
    return str(number)


def rounded_quantity(number: int) -> str:
    """Return about a number of bytes, for people: at least two digits of it, as 512Mi or 98Gi, and never more."""
    for unit in ("Pi", "Ti", "Gi", "Mi", "Ki"):
        if number >= 10 * UNITS[unit]:
            return f"{number // UNITS[unit]}{unit}"
    return str(number)
