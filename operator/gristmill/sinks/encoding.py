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
    return orjson.loads(_encode_one(value, 0))


def json_combine(combine: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return `combine` with its results passed through JSON: alike, stored or not."""
    return lambda left, right: through_json(combine(left, right))


def encoded_combine(combine: Callable[[Any, Any], Any]) -> Callable[[bytes, bytes], bytes]:
    """Return `combine` of what `encode_value` wrote: a large value is written once, and read only to be combined."""

    def combined(left: bytes, right: bytes) -> bytes:
        if not left or not right:
            return left or right
        return encode_value(combine(decode_value(left), decode_value(right)))

    return combined


def _encode_one(result: Any, index: int) -> bytes:
    try:
        # (a slice is as large as the text, while what orjson returns keeps a kilobyte at the least)
        return orjson.dumps(result, None, _OPTIONS | orjson.OPT_APPEND_NEWLINE)[:-1]
    except TypeError as error:
        reason = str(error)
        if reason.startswith("Integer exceeds"):
            reason = "an integer has more than 64 bits; return it as text"
        raise ResultError(index, reason) from None
