"""Progress while a job runs, on the standard error: a line that is redrawn on a terminal, else plain lines.

Whoever looks at the status redraws the line: there is no thread for it.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from gristmill.cli.text import details, progress

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

#: seconds between two plain lines: the first pause, and the longest
_PLAIN_SECONDS = (2.0, 30.0)
#: seconds between two drawings on a terminal
DRAW_SECONDS = 0.1


class Display(Protocol):
    """Shows statuses until it is closed."""

    #: seconds after which it wants to be shown the status again
    pause: float

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""

    def show(self, status: dict[str, Any]) -> None:
        """Show a status."""


def choose_display() -> Display:
    """Return what suits the standard error."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return TerminalDisplay()
    return PlainDisplay()


class PlainDisplay:
    """A line every few seconds, less and less often, and only when something changed."""

    pause = 0.5

    def __init__(self) -> None:
        self._due = time.monotonic() + _PLAIN_SECONDS[0]
        self._gap = _PLAIN_SECONDS[0]
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, status: dict[str, Any]) -> None:
        """See `Display`."""
        now = time.monotonic()
        line = ", ".join([f"{status['name']}: {progress(status)}", *details(status)])
        if now < self._due or line == self._last:
            return
        self._last = line
        self._gap = min(self._gap * 1.5, _PLAIN_SECONDS[1])
        self._due = now + self._gap
        print(line, file=sys.stderr, flush=True)


class TerminalDisplay:
    """One line with a bar."""

    pause = DRAW_SECONDS

    def __init__(self) -> None:
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, status: dict[str, Any]) -> None:
        """See `Display`."""
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(bar_line(status), refresh=True)


def bar_line(status: dict[str, Any]) -> Table:
    """Return a status as one line for a terminal of any width: what does not fit is cut at the right."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    chunks = status["chunks"]
    total = chunks["total"]
    done = chunks["succeeded"] + chunks["failed"]
    grid = Table.grid(padding=(0, 1, 0, 0), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1, min_width=6)
    grid.add_column(no_wrap=True)
    words = [progress(status).removesuffix(" chunks"), *details(status)]
    grid.add_row(
        Text(status["name"], style="bold", overflow="ellipsis"),
        ProgressBar(total=total or 1, completed=done, pulse=False),
        Text(" · ".join(words), overflow="ellipsis"),
    )
    return grid
