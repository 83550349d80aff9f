"""Quantities mean what Kubernetes takes them to mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.api.quantity import UNITS, format_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (0, 0), (123, 123), (-1, -1), ("0", 0), ("123", 123), ("8Mi", 8 * 2**20),
        ("1G", 10**9), ("500M", 5 * 10**8),
        ("1k", 1000), ("1Ki", 1024), ("1.5Gi", 3 * 2**29), ("0.1", 1), ("0.0001Ki", 1), ("2Pi", 2**51),
        ("999999999999999999Pi", 999999999999999999 * 2**50),
    ],
)  # fmt: skip
def test_quantity(text: int | str, expected: int) -> None:
    assert parse_quantity(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "Mi",
        "8 Mi",
        "8MB",
        "8mi",
        "8K",
        "1e3",
        "-1Mi",
        "+1",
        "1.",
        ".5Mi",
        "1,5Mi",
        "8Mi\n",
        "٣Mi",
        "1" * 40,
    ],
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="must be a number of bytes or a quantity such as 8Mi"):
        parse_quantity(text)


@pytest.mark.parametrize("value", [True, 1.5, None, [1]])
def test_other_types(value: object) -> None:
    with pytest.raises(ValueError, match="must be a number of bytes"):
        parse_quantity(value)  # type: ignore[arg-type]


@given(st.integers(0, 10**18 - 1), st.sampled_from(sorted(UNITS)))
def test_whole_numbers_are_exact(number: int, unit: str) -> None:
    assert parse_quantity(f"{number}{unit}") == number * UNITS[unit]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1Ki"),
        (1536 * 2**20, "1536Mi"),
        (2**30, "1Gi"),
        (3 * 2**50, "3Pi"),
        (5 * 10**9, "5G"),
        (1_000_001, "1000001"),
    ],
)
def test_quantity_of_a_number(number: int, text: str) -> None:
    assert format_quantity(number) == text


@given(st.integers(0, 2**60))
def test_a_number_survives_its_quantity(number: int) -> None:
    assert parse_quantity(format_quantity(number)) == number
