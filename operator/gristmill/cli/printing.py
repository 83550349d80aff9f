"""`gristmill results` and `gristmill logs`: lines for other programs, and for people."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from gristmill.local.state import State, find
from gristmill.sinks import read_results

_BATCH = 1000
#: seconds between two looks for new lines
_PAUSE = 0.2


def print_results(name: str | None, folder: Path | None) -> None:
    """Print the results as JSON lines, in input order."""
    results = read_results(find(name, folder).job().output)
    while batch := list(islice(results, _BATCH)):
        sys.stdout.buffer.write(b"".join(orjson.dumps(result) + b"\n" for result in batch))
    sys.stdout.buffer.flush()


def print_logs(
    name: str | None, folder: Path | None, chunk: int | None, *, follow: bool, as_json: bool
) -> None:
    """Print what the user's code printed, oldest first; go on while the run does if it shall be followed."""
    state = find(name, folder)
    reader = _Reader(state)
    while True:
        live = follow and state.runner_lock.holder() != 0
        for record in reader.records():
            if chunk is None or record["chunk"] == chunk:
                line = orjson.dumps(record).decode() if as_json else f"{record['chunk']:>8}  {record['text']}"
                sys.stdout.write(line + "\n")
        sys.stdout.flush()
        if not live:
            return
        time.sleep(_PAUSE)


class _Reader:
    """Reads what was added to the log files since it was last asked."""

    def __init__(self, state: State) -> None:
        self._folder = state.logs
        self._files: dict[Path, BinaryIO] = {}

    def records(self) -> Iterator[dict[str, Any]]:
        for path in self._folder.glob("*") if self._folder.exists() else ():
            if path not in self._files:
                self._files[path] = path.open("rb")
        found = []
        for file in self._files.values():
            place = file.tell()
            for line in file:
                if not line.endswith(b"\n"):
                    break
                place += len(line)
                found.append(orjson.loads(line))
            file.seek(place)
        return iter(sorted(found, key=lambda record: record["time"]))
