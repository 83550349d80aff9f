"""`gristmill get` and `gristmill top`: how far a run is, once or live, whether it goes on or has stopped."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from gristmill.cli.places import Where, choose, listed
from gristmill.cli.text import duration, paragraph, print_json, table
from gristmill.client.status import ended
from gristmill.local.hosts import RunStopped

if TYPE_CHECKING:
    from gristmill.client.place import Place
    from gristmill.protocol.client import Queue
    from gristmill.remote.cluster import Cluster

#: seconds between two drawings
_PAUSE = 0.5


def get_status(name: str | None, where: Where, *, as_json: bool) -> None:
    """Print the status of a run; of all jobs of a cluster's namespace where none is named."""
    if name is None and (cluster := listed(where)) is not None:
        _print_list(cluster, as_json)
    else:
        _print(choose(name, where).status(), as_json)


def watch(name: str | None, where: Where, *, once: bool, as_json: bool) -> None:
    """Show a run and its workers until it ends or stops."""
    place = choose(name, where)
    if place.is_live():
        with suppress(RunStopped), place.queue() as queue:
            if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not once and not as_json:
                _draw_live(queue, place)
                return
            told = queue.status()
            status, workers = place.describe(told), _workers(told)
            _print({**status, "workerList": workers} if as_json else status, as_json)
            if workers and not as_json:
                print("\n".join(table(("WORKER", "PID", "SLOTS", "RUNS"), map(_cells, workers))))
            return
    _print(place.status(), as_json)


def _print(status: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(status)
    else:
        print("\n".join(paragraph(status)))


def _print_list(cluster: Cluster, as_json: bool) -> None:
    from gristmill.api.names import KIND
    from gristmill.remote.status import status_in

    statuses = [status_in(resource) for resource in cluster.list(KIND)]
    if as_json:
        for status in statuses:
            print_json(status)
    elif statuses:
        titles = ("NAME", "STATE", "DONE", "TOTAL", "FAILED", "WORKERS", "LEFT")
        print("\n".join(table(titles, map(_row, statuses))))
    else:
        print(f"there is no ChunkJob in the namespace {cluster.namespace}", file=sys.stderr)


def _row(status: dict[str, Any]) -> tuple[str, ...]:
    chunks = status["chunks"]
    left = duration(status["etaSeconds"]) if status["etaSeconds"] else ""
    numbers = (chunks["succeeded"], chunks["total"], chunks["failed"], status["workers"])
    return (
        status["name"],
        status["state"],
        *("" if number is None else f"{number:,}" for number in numbers),
        left,
    )


def _draw_live(queue: Queue, place: Place) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from gristmill.cli.display import bar_line

    with Live(console=Console(), auto_refresh=False, screen=False) as live:
        while True:
            told = queue.status()
            status = place.describe(told)
            rows = table(("WORKER", "PID", "SLOTS", "RUNS"), map(_cells, _workers(told)))
            lines = [Text(line, no_wrap=True, overflow="ellipsis") for line in rows]
            live.update(Group(bar_line(status), Text("\n".join(paragraph(status)[1:])), *lines), refresh=True)
            if ended(status):
                return
            time.sleep(_PAUSE)


def _workers(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"worker": name, **orjson.loads(info)} for name, info in sorted(dict(told["workers"]).items())]


def _cells(worker: dict[str, Any]) -> tuple[str, ...]:
    running = worker.get("running") or []
    runs = ", ".join(f"chunk {entry['chunk']} for {duration(entry['seconds'])}" for entry in running)
    return (worker["worker"], str(worker.get("pid", "")), str(worker.get("slots", "")), runs or "idle")
