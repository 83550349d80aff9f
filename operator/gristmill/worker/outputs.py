"""Where a child puts results until they are handed over: the queue's memory, or parts in the job's output.

One class for each form of output, all with the same two steps: `append` the results of an aligned piece of chunks,
and `flush`, which makes visible what was appended and says what the supervisor may commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gristmill import settings
from gristmill.errors import LargeResultError, ReduceError, ResultError
from gristmill.planning.plan import Plan
from gristmill.planning.reduction import fold_levels
from gristmill.sinks import NO_VALUE, Sink, encode
from gristmill.sinks.encoding import encode_value, json_combine, through_json
from gristmill.sinks.writer import PartWriter
from gristmill.worker.failpoints import reach
from gristmill.worker.fixing import check_fixed


@dataclass(frozen=True, slots=True)
class Handed:
    """Chunks up to `upto` are visible (or in `payload`) and may be committed."""

    upto: int
    items: int
    direct: bool
    payload: bytes | None = None


class Output(Protocol):
    """See the module."""

    #: no aligned piece may be higher than this
    height: int

    def begin(self, start: int, nonce: str) -> None:
        """Begin at the chunk `start` of the lease `nonce`; nothing may be pending."""

    def append(
        self, start: int, stop: int, results: list[Any], ends: Sequence[int], *, fixed: bool = True
    ) -> Handed | None:
        """Add an aligned piece; `ends[i]` is where the results of chunk start + i end.

        Unless they are `fixed`, UnfixedResults is raised where one may have changed: that, as ResultError, changes
        nothing here.
        """

    def flush(self) -> Handed | None:
        """Hand over what is pending."""

    def abort(self) -> None:
        """Forget what is pending."""

    def fragment(self, chunk: int, low: int, high: int, total: int, results: list[Any], nonce: str) -> Handed:
        """Hand over the results of the items [low, high) of a split chunk of `total` items."""


class QueueOutput:
    """Results travel with the commit and are kept in the queue until they are collected."""

    height = 62

    def __init__(self) -> None:
        self._payloads: list[bytes] = []
        self._size = self._items = self._upto = 0

    def begin(self, start: int, nonce: str) -> None:
        """See `Output`."""
        self._upto = start

    def append(
        self, start: int, stop: int, results: list[Any], ends: Sequence[int], *, fixed: bool = True
    ) -> Handed | None:
        """See `Output`."""
        payload = _for_queue(results, _encoded(results, fixed))
        self._payloads.append(payload)
        self._size += len(payload)
        self._items += len(results)
        self._upto = stop
        return self.flush() if self._size >= settings.PIECE_BYTES else None

    def flush(self) -> Handed | None:
        """See `Output`."""
        if not self._payloads:
            return None
        handed = Handed(self._upto, self._items, False, b"".join(self._payloads))
        self.abort()
        return handed

    def abort(self) -> None:
        """See `Output`."""
        self._payloads = []
        self._size = self._items = 0

    def fragment(self, chunk: int, low: int, high: int, total: int, results: list[Any], nonce: str) -> Handed:
        """See `Output`."""
        return Handed(chunk + 1, len(results), False, _for_queue(results, encode(results)))


class PartsOutput:
    """Results are written to parts; `add` puts an aligned piece into the open part in the output's own form."""

    def __init__(self, sink: Sink, plan: Plan, form: Form) -> None:
        self.height = plan.block_height
        self._sink = sink
        self._plan = plan
        self._form = form
        self._writer: PartWriter | None = None
        self._position = 0
        self._nonce = ""

    def begin(self, start: int, nonce: str) -> None:
        """See `Output`."""
        self._position = start
        self._nonce = nonce

    def append(
        self, start: int, stop: int, results: list[Any], ends: Sequence[int], *, fixed: bool = True
    ) -> Handed | None:
        """See `Output`."""
        add = self._form.prepare(start, stop, results, ends, fixed)
        if self._writer is None:
            block = start >> self._plan.block_height
            self._writer = self._sink.begin(block, start, self._nonce)
        add(self._writer)
        self._position = stop
        at_end = stop == self._plan.block_range((stop - 1) >> self._plan.block_height)[1]
        return self.flush() if at_end else None

    def flush(self) -> Handed | None:
        """See `Output`."""
        if self._writer is None:
            return None
        writer, self._writer = self._writer, None
        reach("child.written")
        written = writer.close()
        reach("child.published")
        return Handed(self._position, written.items, written.direct)

    def abort(self) -> None:
        """See `Output`."""
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    def fragment(self, chunk: int, low: int, high: int, total: int, results: list[Any], nonce: str) -> Handed:
        """See `Output`."""
        payload = self._form.fragment(results)
        self._sink.write_fragment(chunk, low, high, total, payload, len(results), nonce)
        return Handed(chunk + 1, len(results), False)


Adder = Callable[[PartWriter], None]


class Form(Protocol):
    """How results become bytes of a part."""

    def prepare(
        self, start: int, stop: int, results: list[Any], ends: Sequence[int], fixed: bool = True
    ) -> Adder:
        """Encode an aligned piece (ResultError has the index of a wrong result); return what adds it to a part.

        UnfixedResults as in `Output.append`.
        """

    def fragment(self, results: list[Any]) -> bytes:
        """Return the payload of some items of a chunk."""


class LinesForm:
    """JSON lines."""

    def prepare(
        self, start: int, stop: int, results: list[Any], ends: Sequence[int], fixed: bool = True
    ) -> Adder:
        """See `Form`."""
        payload = _encoded(results, fixed)
        return lambda writer: writer.append(stop, payload, len(results))

    def fragment(self, results: list[Any]) -> bytes:
        """See `Form`."""
        return encode(results)


class FilesForm:
    """A file a chunk: each result that is bytes or text as it is, any other as a JSON line."""

    def prepare(
        self, start: int, stop: int, results: list[Any], ends: Sequence[int], fixed: bool = True
    ) -> Adder:
        """See `Form`."""
        if not fixed:
            check_fixed(results)
        begins = [0, *ends]
        files = [_raw(results[begins[i] : begins[i + 1]], begins[i]) for i in range(stop - start)]
        counts = [len(results[begins[i] : begins[i + 1]]) for i in range(stop - start)]

        def add(writer: PartWriter) -> None:
            for i, data in enumerate(files):
                writer.append_file(start + i + 1, data, counts[i])

        return add

    def fragment(self, results: list[Any]) -> bytes:
        """See `Form`."""
        return _raw(results, 0)


class ValueForm:
    """A reduction: an aligned piece becomes the value of its node of the fixed tree."""

    def __init__(self, combine: Callable[[Any, Any], Any]) -> None:
        self._combine = json_combine(combine)

    def prepare(
        self, start: int, stop: int, results: list[Any], ends: Sequence[int], fixed: bool = True
    ) -> Adder:
        """See `Form`."""
        if not fixed:
            check_fixed(results)
        items = len(results)
        if items == 1:
            payload = encode_value(results[0])
            return lambda writer: writer.append_value(stop, payload, items)
        results = _leaves(results)
        values = results
        if ends != range(1, stop - start + 1):
            begins = [0, *ends]
            parts = [results[begins[i] : begins[i + 1]] for i in range(stop - start)]
            values = [_folded(part, self._combine) if part else NO_VALUE for part in parts]
        value = encode_value(_folded(values, self._either))
        return lambda writer: writer.append_value(stop, value, items)

    def fragment(self, results: list[Any]) -> bytes:
        """See `Form`."""
        leaves = _leaves(results)
        return encode_value(_folded(leaves, self._combine)) if leaves else b""

    def _either(self, left: Any, right: Any) -> Any:
        if left is NO_VALUE:
            return right
        return left if right is NO_VALUE else self._combine(left, right)


def _encoded(results: list[Any], fixed: bool) -> bytes:
    """Return results as JSON lines. What may have changed is a list or an object there: others need no closer look."""
    payload = encode(results)
    if not fixed and (b"{" in payload or b"[" in payload):
        check_fixed(results)
    return payload


def _for_queue(results: list[Any], payload: bytes) -> bytes:
    """Return results as they are written, if the queue takes so much. LargeResultError names the first beyond that."""
    if len(payload) > settings.RESULT_BYTES:
        size = 0
        for index, result in enumerate(results):
            size += len(encode([result]))
            if size > settings.RESULT_BYTES:
                raise LargeResultError(
                    index,
                    f"with it the queue would have to take {size / 1e6:.0f} MB at once, and at most "
                    f"{settings.RESULT_BYTES / 1e6:.0f} MB can be; give the job an output URL",
                )
    return payload


def _folded(values: list[Any], combine: Callable[[Any, Any], Any]) -> Any:
    """Fold values that can be written: what `combine` makes of them and can't be is the fault of no item."""
    try:
        value = fold_levels(values, combine)
        if type(value) is str and len(values) > 1:
            _utf8(value, 0)
    except ResultError as error:
        raise ReduceError(f"the reduce function returned what is not JSON: {error.reason}") from None
    return value


def _leaves(results: list[Any]) -> list[Any]:
    """Return results as they are after writing and reading. ResultError has the index of the wrong one."""
    if set(map(type, results)) <= {bool, str, type(None)}:
        try:
            "".join([result for result in results if type(result) is str]).encode()
        except UnicodeEncodeError:
            pass  # the loop says which
        else:
            return results
    leaves = []
    for index, result in enumerate(results):
        if type(result) is str:
            _utf8(result, index)
        try:
            leaves.append(through_json(result))
        except ResultError as error:
            raise ResultError(index, error.reason) from None
    return leaves


def _utf8(text: str, index: int) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ResultError(index, f"the text can't be written as UTF-8: {error.reason}") from None


def _raw(results: list[Any], first: int) -> bytes:
    try:
        if not any(isinstance(result, (bytes, str)) for result in results):
            return encode(results)
    except ResultError as error:
        raise ResultError(first + error.index, error.reason) from None
    return b"".join([_bytes_of(result, first + i) for i, result in enumerate(results)])


def _bytes_of(result: Any, index: int) -> bytes:
    if isinstance(result, str):
        return _utf8(result, index)
    try:
        return result if isinstance(result, bytes) else encode([result])
    except ResultError as error:
        raise ResultError(index, error.reason) from None
