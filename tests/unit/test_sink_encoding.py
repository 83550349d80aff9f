from __future__ import annotations

import io
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.errors import ResultError
from gristmill.sinks import (
    NO_VALUE,
    decode,
    decode_value,
    encode,
    encode_value,
    encoding,
    iter_batches,
    through_json,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    SCALARS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(JSON))
def test_what_is_written_is_read(results: list[Any]) -> None:
    data = encode(results)
    assert data == b"".join(orjson.dumps(result) + b"\n" for result in results)
    assert decode(data) == results


@given(st.lists(st.text(max_size=5)), st.integers(1, 9))
def test_batches(results: list[str], size: int) -> None:
    old, encoding._BATCH_BYTES = encoding._BATCH_BYTES, size
    try:
        batches = list(iter_batches(io.BytesIO(encode(results))))
    finally:
        encoding._BATCH_BYTES = old
    assert [result for batch in batches for result in batch] == results


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (2**64, "more than 64 bits"),
        ({1, 2}, "set"),
        (b"bytes", "bytes"),
        (object(), "object"),
        ("\ud800", "surrogates"),
        ({"a": {(1, 2): 3}}, "key"),
    ],
)
def test_what_is_not_json_is_named(result: Any, reason: str) -> None:
    with pytest.raises(ResultError, match=reason) as caught:
        encode([1, "two", result, 4])
    assert caught.value.index == 2


@pytest.mark.parametrize(
    ("result", "read"),
    [
        ((1, 2), [1, 2]),
        (math.nan, None),
        (-math.inf, None),
        ({1: "a", None: 2}, {"1": "a", "null": 2}),
        (-0.0, -0.0),
        (5e-324, 5e-324),
        ("a\nb\u2028", "a\nb\u2028"),
    ],
)
def test_how_other_types_are_written(result: Any, read: Any) -> None:
    assert decode(encode([result, result])) == [read, read]
    assert through_json(result) == read
    assert math.copysign(1, through_json(-0.0)) == -1


def test_no_value_is_not_none() -> None:
    assert encode_value(NO_VALUE) == b""
    assert decode_value(b"") is NO_VALUE
    assert decode_value(encode_value(None)) is None
    assert through_json(NO_VALUE) is NO_VALUE


def test_huge_ints_fail_in_values_too() -> None:
    with pytest.raises(ResultError, match="more than 64 bits"):
        through_json(2**64)
