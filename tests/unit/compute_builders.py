"""A computer of chunks without a supervisor, and what it tells."""

from __future__ import annotations

import json
from typing import Any

import orjson

from gristmill.sources.readers import SliceSource
from gristmill.worker.compute import Computer, Work
from gristmill.worker.marker import Marker
from gristmill.worker.outputs import QueueOutput


class Told:
    """Takes what a computer tells its supervisor, and what of it the queue would know."""

    def __init__(self, start: int) -> None:
        self.position = start
        self.results: list[Any] = []
        self.failed: list[tuple[int, int]] = []
        self.letters: list[dict[str, Any]] = []
        self.messages: list[tuple[Any, ...]] = []

    def __call__(self, *messages: tuple[Any, ...]) -> None:
        for message in messages:
            self._hear(message)

    def _hear(self, message: tuple[Any, ...]) -> None:
        self.messages.append(message)
        match message:
            case ("done", _, upto, items, False, payload):
                assert upto > self.position
                got = [orjson.loads(line) for line in payload.splitlines()]
                assert len(got) == items
                self.results += got
                self.position = upto
            case ("fail", _, chunk, _, item, _, _, letter):
                assert chunk == self.position
                self.failed.append((chunk, item))
                self.letters.append(json.loads(letter))
                self.position = chunk + 1


def computer(
    function: Any, told: Told, *, size: int = 1, items: Any = range(10_000), each_item: bool = True
) -> tuple[Computer, Marker]:
    source = SliceSource(items, size)
    work = Work(
        function, each_item, frozenset({"KeyError", "json.decoder.JSONDecodeError"}), 3, source, source.read
    )
    marker = Marker()
    return Computer(work, QueueOutput(), marker, "w", told), marker
