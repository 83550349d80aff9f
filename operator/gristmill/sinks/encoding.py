"""Results as JSON lines, as fast as orjson goes: one call for many results, whatever they are.

A raw line end never occurs inside JSON. So a list dumped with raw line ends as items between its items needs
one `replace` to be JSON lines (a call for each result takes twenty times as long), and lines need one to be a
list again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any, BinaryIO, Final

import orjson

from gristmill.errors import ResultError

#: stands for "no value" in a reduction, where None is a value
NO_VALUE: Final = object()

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
_LINE_END = orjson.Fragment(b"\n")
_BATCH_BYTES = 1 << 20
_EXACT_INT = 1 << 63


def encode(results: list[Any]) -> bytes:
    """Return results as JSON lines. ResultError names the first that is not JSON, and why.

    NaN and infinities become null; keys of dicts become text; numpy's numbers and arrays are written as
    JSON's.
    """
    if not results:
        return b""
    try:
        if isinstance(results[0], (int, float)):
            data = orjson.dumps(results, None, _OPTIONS)
            if data.find(b'"') < 0 and data.find(b"{") < 0 and data.find(b"[", 1) < 0:
                # numbers, booleans and nulls only: every comma is between two results
                return data[1:-1].replace(b",", b"\n") + b"\n"
        spaced = [_LINE_END] * (2 * len(results) - 1)
        spaced[::2] = results
        return orjson.dumps(spaced, None, _OPTIONS)[1:-1].replace(b",\n,", b"\n") + b"\n"
    except TypeError:
        return b"".join([_encode_one(result, index) + b"\n" for index, result in enumerate(results)])


def decode(data: bytes) -> list[Any]:
    """Return the results that `encode` wrote."""
    results: list[Any] = orjson.loads(b"[" + data.rstrip(b"\n").replace(b"\n", b",") + b"]")
    return results


def iter_batches(file: BinaryIO) -> Iterator[list[Any]]:
    """Yield the results of a file of JSON lines, as lists of about a megabyte of lines."""
    rest = b""
    while data := file.read(_BATCH_BYTES):
        cut = data.rfind(b"\n") + 1
        if cut:
            yield decode(rest + data[:cut])
            rest = data[cut:]
        else:
            rest += data
    if rest:
        yield decode(rest)


def encode_value(value: Any) -> bytes:
    """Return the value of a reduction as JSON (nothing for NO_VALUE), or raise ResultError."""
    return b"" if value is NO_VALUE else _encode_one(value, 0)


def decode_value(data: bytes) -> Any:
    """Return the value that `encode_value` wrote."""
    return orjson.loads(data) if data else NO_VALUE


def through_json(value: Any) -> Any:
    """Return a value as it is after writing and reading: tuples are lists, NaN is None. Or ResultError."""
    kind = type(value)
    if kind is str or kind is bool or value is None or value is NO_VALUE:
        return value
    if kind is int and -_EXACT_INT <= value < _EXACT_INT:
        return value
    if kind is float and isfinite(value):
        return value
    if isinstance(value, dict) and _is_tally(value):
        return dict(value)
    return orjson.loads(_encode_one(value, 0))


def _is_tally(value: dict[Any, Any]) -> bool:
    """Whether it has numbers by text, and nothing that JSON would change: checking it is cheaper than writing it."""
    if not value or set(map(type, value)) != {str} or set(map(type, value.values())) != {int}:
        return False
    if min(value.values()) < -_EXACT_INT or max(value.values()) >= _EXACT_INT:
        return False
    try:
        "".join(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def json_combine(combine: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return `combine` with its results passed through JSON: alike, stored or not."""
    return lambda left, right: through_json(combine(left, right))


def _encode_one(result: Any, index: int) -> bytes:
    try:
        return orjson.dumps(result, None, _OPTIONS)
    except TypeError as error:
        reason = str(error)
        if reason.startswith("Integer exceeds"):
            reason = "an integer has more than 64 bits; return it as text"
        raise ResultError(index, reason) from None
