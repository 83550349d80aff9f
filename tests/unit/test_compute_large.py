"""A chunk of lines too large to keep: it is read in pieces, as seldom as can be, and fails as any other does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.compute_builders import Told, computer

from gristmill.errors import InputChanged, InputError
from gristmill.planning.values import Lease
from gristmill.sources import LargeLines
from gristmill.sources.readers import SliceSource
from gristmill.worker.compute import Computer


class Readings:
    """Ten lines in two blocks that count how often they are read, to their end."""

    def __init__(self) -> None:
        self.count = 0

    def read(self, chunk: int) -> LargeLines:
        return LargeLines(self._pieces, "utf-8")

    def _pieces(self) -> Iterator[bytes]:
        for block in (range(5), range(5, 10)):
            yield b"".join(b"%d\n" % number for number in block)
        self.count += 1


def of_lines(function: Any, told: Told, readings: Readings, monkeypatch: pytest.MonkeyPatch) -> Computer:
    monkeypatch.setattr(SliceSource, "span", lambda *_: None)
    run, _ = computer(function, told)
    run._work = replace(run._work, read=readings.read)
    return run


def test_a_large_chunk_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told, readings = Told(0), Readings()
    of_lines(int, told, readings, monkeypatch).run(Lease("n", 1, 0, 1))
    assert told.results == list(range(10))
    assert readings.count == 1


@pytest.mark.parametrize("last", [4, 9])
def test_a_stop_iteration_in_a_large_chunk_is_a_failure_of_its_item(
    last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def function(line: str) -> str:
        if line == str(last):
            raise StopIteration
        return line

    told = Told(0)
    of_lines(function, told, Readings(), monkeypatch).run(Lease("n", 1, 0, 1))
    assert told.failed == [(0, last)]


@pytest.mark.parametrize("each_item", [True, False])
def test_a_fragment_of_a_large_chunk_holds_its_own_lines(
    each_item: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def function(lines: Any) -> Any:
        if not each_item:
            assert list(lines.blocks()) == [b"4\n", b"5\n"]
            assert lines.text.encode() == lines.data == b"4\n5\n"
        return lines if each_item else list(lines)

    told, readings = Told(0), Readings()
    run = of_lines(function, told, readings, monkeypatch)
    run._work = replace(run._work, each_item=each_item)
    run.run(Lease("n", 1, 0, 1, low=4, high=6, attempt=2))
    assert told.results == ["4", "5"]


def test_a_fragment_that_breaks_off_where_it_is_read_blames_no_item(monkeypatch: pytest.MonkeyPatch) -> None:
    def pieces() -> Iterator[bytes]:
        readings.append(1)
        yield b"one\n"
        if len(readings) > 1:  # (the first time it was to count)
            raise InputError("broken")
        yield b"two\n"

    readings: list[int] = []
    told = Told(0)
    run = of_lines(lambda line: line, told, Readings(), monkeypatch)
    run._work = replace(run._work, read=lambda chunk: LargeLines(pieces, "utf-8"))
    run.run(Lease("n", 1, 0, 1, low=0, high=2, attempt=2))
    assert told.failed == [(0, -1)]
    assert "broken" in told.letters[0]["error"]


class Hiccup:
    """Two lines in two blocks, of which the second can't be read in some of the readings (from 1 on)."""

    def __init__(self, error: InputError, *bad: int) -> None:
        self._error, self._bad = error, bad
        self.count = 0

    def read(self, chunk: int) -> LargeLines:
        return LargeLines(self._pieces, "utf-8")

    def _pieces(self) -> Iterator[bytes]:
        self.count += 1
        reading = self.count
        yield b"one\n"
        if reading in self._bad:
            raise self._error
        yield b"two\n"


def of_hiccup(
    function: Any, told: Told, hiccup: Hiccup, monkeypatch: pytest.MonkeyPatch, **work: Any
) -> Computer:
    monkeypatch.setattr(SliceSource, "span", lambda *_: None)
    run, _ = computer(function, told)
    run._work = replace(run._work, read=hiccup.read, **work)
    return run


def _raising(line: str) -> str:
    raise KeyError(line)


def _not_json(line: str) -> Any:
    return {line} if line == "two" else line


@pytest.mark.parametrize(("function", "bad"), [(_raising, 2), (_raising, 3), (_not_json, 2), (_not_json, 3)])
def test_an_input_that_changes_is_no_failure_of_a_large_chunk(
    function: Any, bad: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(0)
    hiccup = Hiccup(InputChanged("it changed"), *range(bad, 9))
    with pytest.raises(InputChanged):
        of_hiccup(function, told, hiccup, monkeypatch).run(Lease("n", 1, 0, 1))
    assert told.failed == []


@pytest.mark.parametrize("function", [_raising, _not_json])
def test_a_large_chunk_that_can_not_be_counted_is_tried_again_whatever_was_raised(
    function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(0)
    hiccup = Hiccup(InputError("not now"), *range(2, 9))
    names = frozenset({"Exception"})
    of_hiccup(function, told, hiccup, monkeypatch, final=names).run(Lease("n", 1, 0, 1))
    assert [message[2:7] for message in told.messages if message[0] == "fail"] == [(0, "error", -1, 0, False)]
    assert "not now" in told.letters[0]["error"]


@pytest.mark.parametrize("function", [_raising, _not_json])
@pytest.mark.parametrize(("attempts", "attempt"), [(1, 1), (3, 3)])
def test_in_the_last_attempt_a_large_chunk_is_counted_once(
    function: Any, attempts: int, attempt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(0)
    hiccup = Hiccup(InputError("not now"), *range(3, 9))
    of_hiccup(function, told, hiccup, monkeypatch, attempts=attempts).run(
        Lease("n", 1, 0, 1, attempt=attempt)
    )
    item = 1 if function is _not_json else 0
    assert [message[2:6] for message in told.messages if message[0] == "fail"] == [(0, "error", item, 2)]
    assert "not now" not in told.letters[0]["error"]


@pytest.mark.parametrize("attempt", [1, 3])
def test_a_chunk_whose_result_is_wrong_fails_alone_where_it_can_not_be_read_again(
    attempt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(chunk: int) -> list[str]:
        readings.append(chunk)
        if len(readings) > 1:
            raise InputError("not now")
        return ["one", "two"]

    readings: list[int] = []
    told = Told(0)
    monkeypatch.setattr(SliceSource, "span", lambda *_: None)
    run, _ = computer(lambda line: {line}, told)
    run._work = replace(run._work, read=read)
    run.run(Lease("n", 1, 0, 1, attempt=attempt))
    assert [message[2:6] for message in told.messages if message[0] == "fail"] == [(0, "error", 0, 2)]


@pytest.mark.parametrize(
    ("attempt", "careful", "announced"), [(1, False, False), (1, True, True), (2, False, True)]
)
def test_items_are_announced_to_who_is_careful_and_where_a_chunk_has_failed_before(
    attempt: int, careful: bool, announced: bool
) -> None:
    seen = []
    run, marker = computer(lambda x: seen.append(marker.item), Told(0), size=3)
    run.run(Lease("n", 1, 0, 1, attempt=attempt, careful=careful))
    assert seen == ([0, 1, 2] if announced else [-1, -1, -1])
