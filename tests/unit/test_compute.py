"""A lease is run as it should be: every chunk done or failed once, in order, whatever fails and wherever slices end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.compute_builders import Told, computer
from tests.unit.source_builders import plan_of

from gristmill import settings
from gristmill.errors import InputChanged, InputError
from gristmill.planning.pace import Pace
from gristmill.planning.values import Lease
from gristmill.sources import FreshItems, LargeLines, open_source
from gristmill.sources.readers import SliceSource
from gristmill.worker.marker import GIVE_TAIL, GO_ON, STOP


@given(
    st.integers(0, 50),
    st.integers(1, 64),
    st.integers(1, 5),
    st.sets(st.integers(0, 600)),
    st.sets(st.integers(0, 600)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 1e-6, 1e-3, 1.0]),
)
def test_every_chunk_of_a_lease_is_done_or_failed_once(
    start: int,
    length: int,
    size: int,
    raising: set[int],
    wrong: set[int],
    each_item: bool,
    careful: bool,
    pace: float,
) -> None:
    def of_item(x: int) -> Any:
        if x in raising:
            raise ValueError(x)
        return {1, 2} if x in wrong else x

    def of_chunk(xs: Any) -> Any:
        return [of_item(x) for x in xs]

    told = Told(start)
    run, _ = computer(
        of_item if each_item else of_chunk, told, size=size, items=range(600), each_item=each_item
    )
    run._pace = Pace(pace)
    stop = min(start + length, 600 // size)
    if stop <= start:
        return
    run.run(Lease("n", 1, start, stop, careful=careful))
    bad = raising | wrong
    chunks = {c: range(c * size, (c + 1) * size) for c in range(start, stop)}
    failing = {c: [x for x in xs if x in bad] for c, xs in chunks.items() if bad & set(xs)}
    assert told.position == stop
    assert [c for c, _ in told.failed] == sorted(failing)
    assert told.results == [x for c, xs in chunks.items() if c not in failing for x in xs]
    if each_item:
        assert told.failed == [(c, failing[c][0] - c * size) for c in sorted(failing)]
    assert told.messages[-1][:2] == ("end", "n")


@pytest.mark.parametrize("careful", [False, True])
def test_what_came_before_a_failing_item_of_a_chunk_is_no_result(
    careful: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of lines: chunks that are read one by one, some of them in a slice."""

    def function(x: int) -> int:
        if x in (4, 20):
            raise ValueError(x)
        return x

    monkeypatch.setattr(SliceSource, "span", lambda *_: None)
    told = Told(0)
    run, _ = computer(function, told, size=3)
    run._pace = Pace(1e-6)
    run.run(Lease("n", 1, 0, 10, careful=careful))
    assert told.failed == [(1, 1), (6, 2)]
    assert told.results == [x for x in range(30) if x not in (3, 4, 5, 18, 19, 20)]


def test_how_many_items_a_chunk_has_is_not_kept_beyond_its_slice() -> None:
    run, _ = computer(lambda x: x, Told(0))
    run.run(Lease("n", 1, 0, 8, careful=True))
    run.run(Lease("m", 1, 8, 16, careful=True))
    assert min(run._counts) >= 8


@pytest.mark.parametrize("fragment", [{}, {"low": 0, "high": 1}])
def test_an_input_that_changes_is_no_failure_of_a_chunk(
    fragment: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(chunk: int) -> Any:
        raise InputChanged("it changed")

    monkeypatch.setattr(SliceSource, "span", lambda *_: None)
    told = Told(0)
    run, _ = computer(lambda x: x, told)
    run._work = replace(run._work, read=read)
    with pytest.raises(InputChanged):
        run.run(Lease("n", 1, 0, 1, **fragment))
    assert told.failed == []


@pytest.mark.parametrize("before", [0, 1, 1000, 1010, 5000])
@pytest.mark.parametrize("each_item", [True, False])
@pytest.mark.parametrize("careful", [False, True])
def test_a_result_is_what_the_function_returned_whatever_it_does_with_it_later(
    before: int, each_item: bool, careful: bool
) -> None:
    """A buffer that is used again and again, after so many results that can't change."""
    inner = [0]
    shared = {"inner": inner}

    def of_item(x: int) -> Any:
        inner[0] = x
        return shared if x >= before else x

    def of_chunk(xs: Any) -> Any:
        return (of_item(x) for x in xs)

    told = Told(0)
    run, _ = computer(of_item if each_item else of_chunk, told, size=3, each_item=each_item)
    run._pace = Pace(1e-6)
    for start in range(0, 3000, 300):
        told.position = start
        run.run(Lease(f"n{start}", 1, start, start + 300, careful=careful))
    assert told.failed == []
    assert told.results == [x if x < before else {"inner": [x]} for x in range(9000)]


def test_a_result_that_can_not_be_written_later_fails_no_other_item() -> None:
    shared: dict[str, Any] = {}

    def function(x: int) -> Any:
        if x < 2002:
            return x
        shared["o"] = object() if x > 2002 else 0
        return shared

    told = Told(0)
    run, _ = computer(function, told)
    run._pace = Pace(1e-6)
    for start in range(0, 2100, 100):
        run.run(Lease(f"n{start}", 1, start, start + 100))
    assert told.failed == [(x, 0) for x in range(2003, 2100)]
    assert told.results == [*range(2002), {"o": 0}]


@pytest.mark.parametrize("changes", [2000, 2001, 2003, 2016, 2047])
@pytest.mark.parametrize("raises", [1, 2, 15, 40])
def test_what_was_written_before_a_change_is_not_written_again(changes: int, raises: int) -> None:
    def function(x: int) -> Any:
        if x == changes + raises:
            raise ValueError(x)
        return [x] if x >= changes else x

    told = Told(0)
    run, _ = computer(function, told)
    run._pace = Pace(1e-6)
    run.run(Lease("n", 1, 0, 1024))
    run.run(Lease("m", 1, 1024, 3072))
    assert told.failed == [(changes + raises, 0)]
    assert told.results == [[x] if x >= changes else x for x in range(3072) if x != changes + raises]


def test_so_it_is_in_a_fragment() -> None:
    shared: dict[str, int] = {}

    def function(xs: Any) -> Any:
        for x in xs:
            shared["x"] = x
            yield x if x < 2000 else shared

    told = Told(0)
    run, _ = computer(function, told, size=4, each_item=False)
    run.run(Lease("n", 1, 0, 500))
    run.run(Lease("m", 1, 500, 501, low=1, high=3, attempt=2))
    assert told.results == [*range(2000), {"x": 2001}, {"x": 2002}]


@pytest.mark.parametrize("fragment", [{}, {"low": 0, "high": 3}])
def test_a_result_that_the_queue_can_not_take_is_a_failure_with_what_to_do(
    fragment: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "RESULT_BYTES", 1000)
    told = Told(0)
    run, _ = computer(lambda x: "x" * (2000 if x == 1 else 10), told, size=3)
    run.run(Lease("n", 1, 0, 1, **fragment) if fragment else Lease("n", 1, 0, 2))
    assert told.failed == [(0, 1)]
    assert "too large" in told.letters[0]["error"]
    assert "output URL" in told.letters[0]["error"]
    assert told.results == ([] if fragment else ["x" * 10] * 3)


def test_an_item_of_a_manifest_is_the_same_however_often_it_is_tried() -> None:
    source = open_source(plan_of(items=[{"v": [1]}, {"v": [2]}]))

    def function(item: dict[str, Any]) -> Any:
        item.pop("v").append(3)
        raise ValueError

    for _ in range(2):
        told = Told(0)
        run, _ = computer(function, told)
        run._work = replace(run._work, source=source, read=source.read)
        run.run(Lease("n", 1, 0, 1))
        assert told.letters[0]["input"] == '{"v":[1]}'
        assert "ValueError" in told.letters[0]["error"]


@pytest.mark.parametrize("items", [[1, 2], [{"v": 1}, {"v": 2}]])
def test_the_items_of_a_manifest_are_a_list(items: list[Any]) -> None:
    source = SliceSource(FreshItems.of(items), 2)
    told = Told(0)
    run, _ = computer(lambda given: [*given, type(given).__name__], told, each_item=False)
    run._work = replace(run._work, source=source, read=source.read)
    run.run(Lease("n", 1, 0, 1))
    assert told.results == [*items, "list"]


def test_a_fragment_runs_its_items_only() -> None:
    told = Told(3)
    run, _ = computer(lambda x: x, told, size=10)
    run.run(Lease("n", 1, 3, 4, low=4, high=8))
    assert told.results == [34, 35, 36, 37]


def test_a_failing_fragment_names_the_item_by_its_number_in_the_chunk() -> None:
    told = Told(3)
    run, _ = computer(lambda x: 1 // (x - 36), told, size=10)
    run.run(Lease("n", 1, 3, 4, low=4, high=8, attempt=2))
    assert told.failed == [(3, 6)]
    letter = told.letters[0]
    assert (letter["error"], letter["input"], letter["attempts"]) == (
        "ZeroDivisionError: integer division or modulo by zero",
        "36",
        2,
    )
    assert "test_compute.py" in letter["traceback"]
    assert "worker/compute.py" not in letter["traceback"]


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError(), StopIteration(1)]
)
def test_whatever_a_function_raises_is_a_failure_of_its_chunk(error: BaseException) -> None:
    def function(x: int) -> int:
        if x == 2:
            raise error
        return x

    told = Told(0)
    run, _ = computer(function, told)
    run.run(Lease("n", 1, 0, 4))
    assert told.results == [0, 1, 3]
    assert told.failed == [(2, 0)]


def test_final_exceptions_are_known_by_name_and_by_module() -> None:
    for function in (lambda x: {}[x], lambda x: json.loads("{")):
        told = Told(0)
        run, _ = computer(function, told)
        run.run(Lease("n", 1, 0, 1))
        fail = next(m for m in told.messages if m[0] == "fail")
        assert fail[6] is True


def test_a_supervisor_that_wants_a_tail_gets_the_later_half() -> None:
    told = Told(0)
    run, marker = computer(lambda x: x, told)
    marker.wish = GIVE_TAIL
    run.run(Lease("n", 1, 0, 9))
    assert ("trim", "n", 5) in told.messages
    assert told.results == [0, 1, 2, 3, 4]
    assert marker.wish == GO_ON


def test_a_supervisor_that_wants_it_to_stop_gets_what_is_done() -> None:
    told = Told(0)

    def function(x: int) -> int:
        if x == 4:
            marker.wish = STOP
        return x

    run, marker = computer(function, told)
    run._pace = Pace(10.0)
    run.run(Lease("n", 1, 0, 64))
    assert told.position == 5
    assert told.messages[-1][:2] == ("end", "n")


def test_results_are_handed_over_before_they_grow_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "PIECE_BYTES", 1000)
    told = Told(0)
    run, _ = computer(lambda x: "x" * 100, told)
    run._pace = Pace(1.0)
    run.run(Lease("n", 1, 0, 64))
    assert len([m for m in told.messages if m[0] == "done"]) >= 3
    assert len(told.results) == 64


@pytest.mark.parametrize(
    ("returned", "results"),
    [([1, 2], [1, 2]), ((1, 2), [[1, 2]]), ({"a": 1}, [{"a": 1}]), ([], []), (None, [None]), ("ab", ["ab"])],
)
def test_a_chunk_gives_many_results_by_a_list_and_one_by_anything_else(
    returned: Any, results: list[Any]
) -> None:
    told = Told(0)
    run, _ = computer(lambda xs: returned, told, size=3, each_item=False)
    run.run(Lease("n", 1, 0, 1))
    assert told.results == results


def test_a_generator_gives_many_results_and_may_fail_in_the_middle() -> None:
    def function(xs: Any) -> Any:
        for x in xs:
            yield 1 / (x - 4)

    told = Told(0)
    run, _ = computer(function, told, size=3, each_item=False)
    run.run(Lease("n", 1, 0, 3))
    assert len(told.results) == 6
    assert told.failed == [(1, -1)]


@pytest.mark.parametrize("error", [InputError("broken"), InputChanged("changed")])
@pytest.mark.parametrize("fragment", [{}, {"low": 0, "high": 2}])
def test_what_the_function_could_not_read_is_no_result_even_where_it_hides_that(
    error: InputError, fragment: dict[str, int]
) -> None:
    readings: list[int] = []

    def pieces() -> Iterator[bytes]:
        readings.append(1)
        yield b"one\n"
        if not fragment or len(readings) > 1:  # (the first time it is to count)
            raise error
        yield b"two\n"

    def function(lines: Any) -> int:
        with suppress(InputError):
            return len(list(lines))
        return -1

    told = Told(0)
    run, _ = computer(function, told, each_item=False)
    run._work = replace(run._work, read=lambda chunk: LargeLines(pieces, "utf-8"))
    if isinstance(error, InputChanged):
        with pytest.raises(InputChanged):
            run.run(Lease("n", 1, 0, 1, **fragment))
    else:
        run.run(Lease("n", 1, 0, 1, **fragment))
        assert told.failed == [(0, -1)]
    assert told.results == []


@pytest.mark.parametrize("broken_readings", [1, 10])
@pytest.mark.parametrize("final", [False, True])
def test_a_chunk_that_breaks_off_where_it_is_read_blames_no_item(
    final: bool, broken_readings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one\ntwo\n"
        readings.append(1)
        if len(readings) <= broken_readings:
            raise InputError("broken")

    readings: list[int] = []

    monkeypatch.setattr(SliceSource, "span", lambda *_: None)
    told = Told(0)
    run, _ = computer(lambda line: line, told)
    attempts = 1 if final else 3
    run._work = replace(run._work, attempts=attempts, read=lambda chunk: LargeLines(pieces, "utf-8"))
    run.run(Lease("n", 1, 0, 1))
    assert told.failed == [(0, -1)]
    assert "broken" in told.letters[0]["error"]
    assert told.results == []
