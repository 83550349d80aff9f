"""`gristmill run`: show a run while it goes on, stop it in order when asked, say where the results are."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from gristmill.api.chunkjob import ChunkJob
from gristmill.cli.display import choose_display
from gristmill.cli.text import count, outcome, print_json
from gristmill.client.run import Run
from gristmill.client.status import ended
from gristmill.errors import GristmillError
from gristmill.local.runner import load, start
from gristmill.local.state import HOME, State, shown

_INTERRUPTED = 130
#: seconds between two notes of the status in the state folder
_NOTE_SECONDS = 2.0


class _Interrupts:
    """Ctrl-C and SIGTERM as KeyboardInterrupt; the first only when `act` is called.

    Until then things are begun and imported that an exception in their middle would leave half done.
    """

    def __init__(self) -> None:
        self._noted = False
        self._acting = False
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def act(self) -> None:
        """Raise what was noted, and from now on at once."""
        self._acting = True
        if self._noted:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: object) -> None:
        if self._acting or self._noted:
            raise KeyboardInterrupt
        self._noted = True


def run_job(
    file: Path, workers: int | None, folder: Path | None, *, fresh: bool, accept_code: bool, as_json: bool
) -> int:
    """Run a manifest to its end and return the exit code."""
    manifest, base = load(file)
    state = State(folder or HOME / manifest.metadata.name)
    interrupts = _Interrupts()
    run: Run | None = None
    status: dict[str, Any] | None = None
    try:
        run = start(manifest, base, state, workers, fresh=fresh, accept_code=accept_code)
        import gristmill.protocol.client  # noqa: F401 (the run's status needs it)

        interrupts.act()
        status = _follow(run, state)
    except KeyboardInterrupt:
        if run is not None:
            status = _stop(run)
        if status is None or not ended(status):
            _say(f"\nstopped; `gristmill run {file}` goes on from here")
    if as_json and status is not None:
        print_json(status)
    if status is None or not ended(status):
        return _INTERRUPTED
    _summarize(status, manifest, state)
    return 1 if status["state"] == "Failed" else 0


def _follow(run: Run, state: State) -> dict[str, Any]:
    """Show a run until it ends, and note how fast it is for who looks at it from outside."""
    noted = time.monotonic()
    with choose_display() as display:
        while not ended(status := run.status):
            display.show(status)
            if time.monotonic() > noted + _NOTE_SECONDS:
                noted = time.monotonic()
                with suppress(GristmillError):  # (it is only for who looks)
                    state.save_status(status)
            run.poll(display.pause)
    return status


def _stop(run: Run) -> dict[str, Any]:
    """Let what runs finish; a second interruption ends it at once."""
    _say("\nstopping: finishing what runs; Ctrl-C again kills it")
    try:
        run.cancel()
    except KeyboardInterrupt:
        run.cancel(now=True)
    return run.status


def _summarize(status: dict[str, Any], manifest: ChunkJob, state: State) -> None:
    is_default = state.folder == (HOME / manifest.metadata.name).absolute()
    where = f" --state {status['name'] if is_default else shown(state.folder)}"
    lost = status["items"]["failed"]
    _say(outcome(status, is_reduction=manifest.spec.reduce is not None))
    if status["state"] != "Failed":
        output = status["output"]
        place = output if "://" in output else shown(Path(output))
        _say(f"results: {place} (or `gristmill results{where}`)")
    if lost:
        _say(f"{count(lost, 'item')} failed: `gristmill failures{where}` shows why,")
        _say(f"`gristmill retry{where}` opens them again")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
