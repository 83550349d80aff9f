"""What is kept of a failure is cheap to come by, however large the chunk is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

import gristmill
from gristmill.errors import InputError, ResultError
from gristmill.sinks.encoding import encode
from gristmill.sources import LargeLines
from gristmill.worker.failures import failure_at, own_frames, own_traceback


def test_the_item_of_a_large_chunk_is_found_without_keeping_all_lines() -> None:
    lines = LargeLines(lambda: iter([b"one\ntwo\n", b"three\n"]), "utf-8")
    failure = failure_at(5, 1, lines, ValueError(), low=10)
    assert (failure.item, failure.items, failure.input) == (11, 3, '"two"')
    assert lines._content is None, "the whole chunk was read into memory"


def test_a_traceback_has_no_frame_of_this_package() -> None:
    with pytest.raises(ResultError) as wrong:
        encode([{1, 2}])
    wrong.value.__traceback__ = wrong.value.__traceback__ and wrong.value.__traceback__.tb_next
    assert own_traceback(wrong.value).startswith("gristmill.errors.ResultError: the result is not JSON")


def test_what_a_crash_printed_has_no_frame_of_this_package_or_below_it() -> None:
    ours = str(Path(gristmill.__file__).parent)
    printed = f"""a word before
Fatal Python error: Segmentation fault

Stack (most recent call first):
  File "{ours}/coordination/lock.py", line 3 in acquire
  File "/site/one.py", line 4 in child_main
  File "{ours}/worker/compute.py", line 225 in _call
  File "/lib/python3/contextlib.py", line 81 in inner
  File "{ours}/worker/child.py", line 46 in child_main
  File "/lib/python3/multiprocessing/process.py", line 108 in run
  File "<frozen runpy>", line 88 in _run_code

Extension modules: {", ".join(map(str, range(2000)))} (total: 2000)
"""
    assert (
        own_frames(printed)
        == """a word before
Fatal Python error: Segmentation fault

Stack (most recent call first):
  File "/site/one.py", line 4 in child_main
  File "/lib/python3/contextlib.py", line 81 in inner"""
    )


def test_a_traceback_has_the_users_frame_where_reading_fails_in_it() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one\n"
        raise InputError("broken")

    with pytest.raises(InputError) as broken:
        list(LargeLines(pieces, "utf-8"))
    text = own_traceback(broken.value)
    assert "test_failures.py" in text
    assert "sources/text.py" not in text


def test_a_traceback_of_what_can_not_be_read_has_no_frame_of_pythons_own() -> None:
    with pytest.raises(InputError) as broken, ThreadPoolExecutor(1) as ahead:
        ahead.submit(next, iter(LargeLines(partial(_broken, "x"), "utf-8"))).result()
    text = own_traceback(broken.value)
    assert "futures" not in text
    assert text.endswith("InputError: x is broken\n")


def _broken(name: str) -> Iterator[bytes]:
    raise InputError(f"{name} is broken")
    yield b""


def test_a_traceback_has_its_causes_and_what_is_in_a_group() -> None:
    def function() -> None:
        try:
            {}["the cause"]
        except KeyError as error:
            raise ExceptionGroup("some", [ValueError("of a group")]) from error

    with pytest.raises(ExceptionGroup) as some:
        function()
    text = own_traceback(some.value)
    for words in (
        "KeyError: 'the cause'",
        "was the direct cause",
        "some (1 sub-exception)",
        "ValueError: of a group",
    ):
        assert words in text


def test_a_traceback_is_bounded_and_ends_with_the_error() -> None:
    with pytest.raises(ValueError, match="x") as long:
        raise ValueError("x" * 100_000 + "end")
    text = own_traceback(long.value)
    assert len(text) == 8000
    assert text.endswith("end\n")


def test_a_traceback_may_have_very_many_causes() -> None:
    error = ValueError("the first")
    for number in range(5000):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    assert own_traceback(error).endswith("ValueError: 4999\n")
