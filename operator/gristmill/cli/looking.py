"""`gristmill get` and `gristmill top`: how far a run is, once or live, whether it goes on or has stopped."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from gristmill.cli.text import duration, paragraph, print_json
from gristmill.client.status import ended, status_of
from gristmill.local.hosts import RunStopped, open_queue
from gristmill.local.state import State, find
from gristmill.planning.progress import State as JobState
from gristmill.protocol.client import Queue

#: seconds between two drawings
_PAUSE = 0.5


def get_status(name: str | None, folder: Path | None, *, as_json: bool) -> None:
    """Print the status of a run."""
    state = find(name, folder)
    status = _final(state)
    if status is None:
        live = state.runner_lock.holder() != 0
        with open_queue(state) as queue:
            status = _status(queue.status(), state, live)
    if as_json:
        print_json(status)
    else:
        print("\n".join(paragraph(status)))


def watch(name: str | None, folder: Path | None, *, once: bool, as_json: bool) -> None:
    """Show a run and its workers until it ends or stops."""
    state = find(name, folder)
    live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not once and not as_json
    if state.runner_lock.holder() and (live or as_json):
        with suppress(RunStopped), open_queue(state) as queue:
            if as_json:
                told = queue.status()
                print_json({**_status(told, state, True), "workerList": _workers(told)})
            else:
                _draw_live(queue, state)
            return
    get_status(name, folder, as_json=as_json)


def _draw_live(queue: Queue, state: State) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from gristmill.cli.display import bar_line

    with Live(console=Console(), auto_refresh=False, screen=False) as live:
        while True:
            told = queue.status()
            status = _status(told, state, True)
            table = Table(box=None, pad_edge=False)
            for title in ("WORKER", "PID", "SLOTS", "RUNS"):
                table.add_column(title, no_wrap=True)
            for worker in _workers(told):
                table.add_row(
                    worker["worker"], str(worker.get("pid", "")), str(worker.get("slots", "")), _runs(worker)
                )
            live.update(Group(bar_line(status), Text("\n".join(paragraph(status)[1:])), table), refresh=True)
            if ended(status):
                return
            time.sleep(_PAUSE)


def _status(told: dict[str, Any], state: State, live: bool) -> dict[str, Any]:
    """Return the status, with the rate that the runner sees; a job that could go on but is not run is stopped."""
    status = status_of(told, [], state.job().output)
    noted = state.last_status()
    if ended(status):
        return status
    if not live:
        status.update(state=str(JobState.STOPPED), workers=0)
    status.update(ratePerSecond=None, etaSeconds=None)
    if live and noted is not None:
        status.update(ratePerSecond=noted["ratePerSecond"], etaSeconds=noted["etaSeconds"])
    return status


def _final(state: State) -> dict[str, Any] | None:
    return None if state.runner_lock.holder() else state.final_status()


def _workers(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"worker": name, **orjson.loads(info)} for name, info in sorted(dict(told["workers"]).items())]


def _runs(worker: dict[str, Any]) -> str:
    running = worker.get("running") or []
    return (
        ", ".join(f"chunk {entry['chunk']} for {duration(entry['seconds'])}" for entry in running) or "idle"
    )
