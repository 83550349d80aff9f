"""Progress of files and bytes, on the standard error: a bar on a terminal, else plain lines, less and less often."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from gristmill.cli.text import count, size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

#: seconds between two plain lines: the first pause, and the longest
_PLAIN_SECONDS = (2.0, 30.0)


class Tally:
    """Counts what many threads do, and shows it."""

    def __init__(self, what: str, total: int | None = None) -> None:
        self.files = 0
        self.bytes = 0
        self._what = what
        #: bytes that there will be, where that is known
        self._total = total
        self._lock = threading.Lock()
        self._gap = _PLAIN_SECONDS[0]
        self._due = time.monotonic() + self._gap
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.DownloadColumn(),
                progress.TransferSpeedColumn(),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, number: int, *, files: int = 0) -> None:
        """Count bytes, and files that are complete."""
        with self._lock:
            self.bytes += number
            self.files += files
            if self._bar is not None and self._task is not None:
                words = f"{self._what}, {count(self.files, 'file')}"
                self._bar.update(self._task, completed=self.bytes, description=words)
            elif time.monotonic() >= self._due:
                self._gap = min(self._gap * 1.5, _PLAIN_SECONDS[1])
                self._due = time.monotonic() + self._gap
                of = "" if self._total is None else f" of {size(self._total)}"
                line = f"{self._what}: {count(self.files, 'file')}, {size(self.bytes)}{of}"
                print(line, file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Say what is being done where nothing can be counted."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=f"{self._what}: {text}")
        elif time.monotonic() >= self._due:
            print(f"{self._what}: {text}", file=sys.stderr, flush=True)
