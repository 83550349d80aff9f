"""What is printed for programs: all of it, also where standard output takes a part at a time (PYTHONUNBUFFERED)."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gristmill.cli import printing
from gristmill.cli.copying import get
from gristmill.cli.text import print_json, print_text


class Parts(io.RawIOBase):
    """Takes three bytes at a time, and at the end none."""

    def __init__(self, room: int) -> None:
        self.taken = b""
        self._room = room

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int | None:
        if len(self.taken) == self._room:
            return None
        part = bytes(data[: min(3, self._room - len(self.taken))])
        self.taken += part
        return len(part)


def print_volume_file() -> None:
    store = SimpleNamespace(read_blocks=lambda path: iter([b"a file's ", b"blocks"]))
    get("volume://v/file", "-", lambda *_: None, lambda _: store)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("call", "printed"),
    [
        (lambda: print_text("some words\n"), b"some words\n"),
        (lambda: print_json([1, 22, 333]), b"[1,22,333]\n"),
        (lambda: printing.print_results("j", None, take=True), b'"one"\n"two"\n"three"\n'),  # type: ignore[arg-type]
        (print_volume_file, b"a file's blocks"),
    ],
)
def test_all_is_printed_or_that_it_was_not_is_told(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[], None], printed: bytes
) -> None:
    run = SimpleNamespace(results=lambda take: iter([["one", "two"], ["three"]]))
    monkeypatch.setattr(printing, "choose", lambda name, where: run)
    out = Parts(1000)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, write_through=True))
    call()
    assert out.taken == printed
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Parts(5), write_through=True))
    with pytest.raises(BlockingIOError):
        call()
