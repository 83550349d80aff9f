"""Running the user's function over a lease, and what it means when it fails in the middle.

Chunks are taken in aligned slices of a few milliseconds: between two of them the child looks at its supervisor's wishes
and tells where it is. Inside a slice nothing stands between `map` and the user's function, unless the lease is
careful: then each item is announced before it runs, so that whoever finds the process dead knows the culprit.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import GeneratorType
from typing import Any

import orjson

from gristmill import settings
from gristmill.errors import InputChanged, InputError, ResultError
from gristmill.planning.intervals import decompose
from gristmill.planning.pace import Pace, slice_stop
from gristmill.planning.values import Lease
from gristmill.sources import FreshItems, LargeLines, Source, reading_failure
from gristmill.worker.failpoints import reach
from gristmill.worker.failures import Failure, failure_at, is_final, letter_of
from gristmill.worker.fixing import Fixer, UnfixedResults
from gristmill.worker.forks import end_copy
from gristmill.worker.marker import GIVE_TAIL, GO_ON, STOP, Marker
from gristmill.worker.outputs import Output
from gristmill.worker.telling import Telling

#: the items of a chunk before it is read
_UNREAD: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """What a child needs to know of its job."""

    function: Callable[[Any], Any]
    each_item: bool
    final: frozenset[str]
    #: tries of a chunk: before the last one, its number of items is known
    attempts: int
    source: Source
    #: items of the chunks [start, stop), read by whoever reads ahead
    read: Callable[[int], Sequence[Any]]


def given(items: Sequence[Any]) -> Sequence[Any]:
    """Return the items of a chunk as a function takes them: those of a manifest are a list."""
    return list(items) if isinstance(items, FreshItems) else items


def results_of(value: Any) -> Iterable[Any]:
    """Return the results that a function gave for a chunk: those of a list or generator, or one."""
    return value if isinstance(value, (list, GeneratorType)) else [value]


def _cause(caught: BaseException, items: Sequence[Any]) -> BaseException:
    """Return why a chunk failed: what could not be read, whatever the function made of it. InputChanged is raised."""
    error = reading_failure(items) or caught
    if isinstance(error, InputChanged):
        raise error from None
    return error


class _Again(Exception):  # noqa: N818 (it is no fault)
    """From `chunk` on, the chunks of a slice have to run once more."""

    def __init__(self, chunk: int) -> None:
        super().__init__()
        self.chunk = chunk


class Computer:
    """Runs leases one after the other; `tell` sends what happened to the supervisor, some messages at a time."""

    def __init__(
        self,
        work: Work,
        output: Output,
        marker: Marker,
        worker: str,
        tell: Callable[..., None],
        confirm: Callable[[], None] = lambda: None,
    ) -> None:
        """`confirm` is called when user code has run, before anything of it is put out or told."""
        self._work = work
        self._output = output
        self._marker = marker
        self._worker = worker
        self._confirm = confirm
        self._telling = Telling(tell)
        self._pace = Pace()
        self._fixer = Fixer()
        self._running: tuple[int, int, list[Any]] | None = None
        #: how many items the chunks of this slice have, where they were counted before they ran
        self._counts: dict[int, int] = {}

    def current_chunk(self) -> int:
        """Return the chunk that runs now, for what it prints."""
        if self._running is None:
            return self._marker.chunk
        start, size, results = self._running
        return start + len(results) // size

    def run(self, lease: Lease, more: bool = False) -> None:
        """Run a lease to its end, or to where the supervisor wants it to stop; OutputError when storage fails.

        `more`: another one is there, so what is told may wait a moment for its messages.
        """
        begun = time.perf_counter()
        try:
            if lease.is_fragment:
                self._run_fragment(lease)
            else:
                self._run_chunks(lease)
        except BaseException:
            self._output.abort()
            self._telling.forget()
            self.send()
            raise
        self._marker.idle()
        self._telling.end(lease, time.perf_counter() - begun, more)

    def send(self) -> None:
        """Send what waits for the messages of a next lease."""
        self._telling.send()

    def _run_chunks(self, lease: Lease) -> None:
        position, stop = lease.start, lease.stop
        careful = lease.careful or lease.attempt > 1
        self._output.begin(position, lease.nonce)
        flushed = time.monotonic()
        while position < stop:
            wish = self._marker.wish
            if wish == STOP:
                break
            if wish == GIVE_TAIL:
                self._marker.wish = GO_ON
                keep = position + (stop - position + 1) // 2
                if keep < stop:
                    stop = keep
                    self._telling.add("trim", lease.nonce, stop)
            height = min(self._pace.height(settings.SLICE_SECONDS, settings.MAX_HEIGHT), self._output.height)
            end = slice_stop(position, stop, height)
            begun = time.perf_counter()
            results, ends, failure = self._slice(position, end, careful)
            end_copy()
            self._confirm()
            seconds = time.perf_counter() - begun
            self._pace = self._pace.after(end - position, seconds)
            reach("child.computed")
            try:
                upto = failure.chunk if failure else end
                fixed = not self._fixer.trusts  # (which it may have begun to do in the middle)
                failure = self._add(lease, position, upto, results, ends, fixed=fixed) or failure
            except _Again as again:
                position = again.chunk
                continue
            if failure:
                self._fail(lease, failure)
                position = failure.chunk + 1
                self._output.begin(position, lease.nonce)
            else:
                position = end
            if time.monotonic() - flushed > settings.PIECE_SECONDS:
                self._telling.hand(lease, self._output.flush())
                flushed = time.monotonic()
            if position < stop:
                self.send()
        self._telling.hand(lease, self._output.flush())
        self._telling.let_go(lease)

    def _slice(self, start: int, stop: int, careful: bool) -> tuple[list[Any], Sequence[int], Failure | None]:
        """Return the results of the chunks [start, stop), where each chunk's end, and the first failure, if any."""
        work = self._work
        self._counts.clear()
        if work.each_item and not careful:
            items = work.source.span(start, stop)
            if items is not None:
                return self._span(start, stop, items)
        results: list[Any] = []
        ends: list[int] = []
        for chunk in range(start, stop):
            self._marker.at(chunk, exact=True)
            before = len(results)
            items = _UNREAD
            try:
                items = work.read(chunk)
                if careful or work.attempts == 1 or not isinstance(items, LargeLines):
                    self._counts[chunk] = len(items)
                    self._marker.has_items(self._counts[chunk])
                self._call(items, 0, results, careful)
                if unread := reading_failure(items):
                    raise unread
            except BaseException as caught:
                error = _cause(caught, items)
                item = len(results) - before if self._is_known(error, items) else -1
                del results[before:]
                return results, ends, failure_at(chunk, item, items, error, count=self._counts.get(chunk))
            ends.append(len(results))
        return results, ends, None

    def _span(
        self, start: int, stop: int, items: Sequence[Any]
    ) -> tuple[list[Any], Sequence[int], Failure | None]:
        size = self._work.source.chunk_size
        results: list[Any] = []
        self._marker.at(start, exact=stop - start == 1)
        self._marker.has_items(len(items))
        self._running = (start, size, results)
        failure = None
        try:
            self._extend(results, items)
        except BaseException as error:
            chunk, item = divmod(len(results), size)
            failure = failure_at(start + chunk, item, items[chunk * size : (chunk + 1) * size], error)
            del results[chunk * size :]
        finally:
            self._running = None
        return results, range(size, (stop - start) * size + 1, size), failure

    def _call(self, items: Sequence[Any], first: int, results: list[Any], careful: bool) -> None:
        function = self._work.function
        if not self._work.each_item:
            made = results_of(function(given(items)))
            results.extend(map(self._fixer.fix, made) if careful else self._fixed(made))
        elif careful:
            for number, item in enumerate(items, first):
                self._marker.at_item(number)
                results.append(self._fixer.fix(function(item)))
        else:
            self._extend(results, items)

    def _fixed(self, results: Iterable[Any]) -> Iterable[Any]:
        return results if self._fixer.trusts else map(self._fixer.fix, results)

    def _is_known(self, error: BaseException, items: Sequence[Any]) -> bool:
        """Whether the number of results tells which item failed: not where the items could not be read."""
        return self._work.each_item and items is not _UNREAD and error is not reading_failure(items)

    def _extend(self, results: list[Any], items: Sequence[Any]) -> None:
        """Call the function for each item; when it raises, the results before it are there."""
        before = len(results)
        results.extend(self._fixed(map(self._work.function, items)))
        # (how many there are is asked now: a large chunk has counted while it was read)
        if len(results) - before < len(items):
            raise RuntimeError("the function raised StopIteration, which ends a loop and is no error")

    def _add(
        self, lease: Lease, start: int, stop: int, results: list[Any], ends: Sequence[int], *, fixed: bool
    ) -> Failure | None:
        """Put the results of [start, stop) out; return a failure when one of them can't be written.

        _Again where those of a chunk may have changed, though the function was trusted not to.
        """
        for a, b in decompose(start, stop):
            if a == start and b == stop:
                part, own_ends = results, ends
            else:
                begin = ends[a - start - 1] if a > start else 0
                own_ends = [end - begin for end in ends[a - start : b - start]]
                part = results[begin : begin + own_ends[-1]]
            try:
                handed = self._output.append(a, b, part, own_ends, fixed=fixed)
            except UnfixedResults:
                self._fixer.distrust()
                raise _Again(a) from None
            except ResultError as error:
                if not fixed:  # (which of them it is, is not known of what may have changed since)
                    self._fixer.distrust()
                    raise _Again(a) from None
                good = bisect_right(own_ends, error.index)
                before = own_ends[good - 1] if good else 0
                self._add(lease, a, a + good, part[:before], own_ends[:good], fixed=fixed)
                item = error.index - before if self._work.each_item else -1
                return self._unwritten(a + good, item, error)
            self._telling.hand(lease, handed)
        return None

    def _unwritten(self, chunk: int, item: int, error: ResultError) -> Failure:
        """Return the failure of a chunk of which a result can't be written: it is read again, to show the item."""
        count = self._counts.get(chunk)
        try:
            return failure_at(chunk, item, self._work.read(chunk), error, count=count)
        except InputChanged:
            raise
        except InputError as unread:
            return Failure(chunk, item, count, error, "") if count else Failure(chunk, -1, 0, unread, "")

    def _fail(self, lease: Lease, failure: Failure) -> None:
        self._telling.hand(lease, self._output.flush())
        self._telling.let_go(lease)
        letter = letter_of(failure, lease.attempt, self._worker, time.time())
        final = is_final(failure.error, self._work.final)
        text = orjson.dumps(letter).decode()
        self._telling.add(
            "fail", lease.nonce, failure.chunk, letter.kind, failure.item, failure.items, final, text
        )

    def _run_fragment(self, lease: Lease) -> None:
        chunk = lease.start
        self._marker.at(chunk, exact=True)
        results: list[Any] = []
        items = _UNREAD
        total = 0
        try:
            everything = self._work.read(chunk)
            total = len(everything)
            self._marker.has_items(total)
            items = everything[lease.low : lease.high]
            self._call(items, lease.low, results, careful=True)
            end_copy()
            if unread := reading_failure(items):
                raise unread
        except BaseException as caught:
            end_copy()
            self._confirm()
            error = _cause(caught, items)
            item = len(results) if self._is_known(error, items) else -1
            count = lease.high - lease.low
            self._fail(lease, failure_at(chunk, item, items, error, lease.low, count))
            return
        self._confirm()
        try:
            handed = self._output.fragment(chunk, lease.low, lease.high, total, results, lease.nonce)
        except ResultError as error:
            self._fail(
                lease, failure_at(chunk, error.index if self._work.each_item else -1, items, error, lease.low)
            )
            return
        self._telling.done(lease, handed)
