"""A job in a state folder, as the commands see it, whether its run goes on or has stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from gristmill.client.status import ended, status_of
from gristmill.errors import UsageError
from gristmill.local.coordinating import say_where_to_coordinate
from gristmill.local.hosts import open_queue
from gristmill.local.state import HOME, State, shown
from gristmill.local.turns import is_run
from gristmill.planning.progress import State as JobState

if TYPE_CHECKING:
    from gristmill.planning.plan import Plan
    from gristmill.protocol.client import Queue
    from gristmill.protocol.job import JobContext

#: results handed out at a time
_BATCH = 1000


class LocalJob:
    """See `client.place.Place`."""

    has_files = True

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def words(self) -> str:
        """See `client.place.Place`."""
        name = self._state.job().name
        return (
            name if self._state.folder == (HOME / name).absolute() else f"--state {shown(self._state.folder)}"
        )

    def is_live(self) -> bool:
        """See `client.place.Place`."""
        return is_run(self._state)

    def status(self) -> dict[str, Any]:
        """See `client.place.Place`."""
        live = self.is_live()
        final = None if live else self._state.final_status()
        if final is not None:
            return final
        with open_queue(self._state) as queue:
            return self._described(queue.status(), live)

    def describe(self, told: dict[str, Any]) -> dict[str, Any]:
        """See `client.place.Place`."""
        return self._described(told, self.is_live())

    def queue(self) -> AbstractContextManager[Queue]:
        """See `client.place.Place`."""
        return open_queue(self._state)

    def printed(self) -> LogFiles:
        """See `client.place.Place`."""
        return LogFiles(self._state.logs)

    def results(self, *, take: bool) -> Iterator[list[Any]]:
        """See `client.place.Place`."""
        from gristmill.sinks import read_results

        if take:
            raise UsageError(
                "--take is for results in a cluster's queue; those of this run are kept in files"
            )
        results = read_results(self._state.job().output)
        while batch := list(islice(results, _BATCH)):
            yield batch

    def read(self, plan: Plan, chunk: int) -> Sequence[Any]:
        """See `client.place.Place`."""
        from gristmill.sources import open_source

        return open_source(plan).read(chunk)

    @contextmanager
    def modules(self, context: JobContext) -> Iterator[str]:
        """See `client.place.Place`."""
        job = self._state.job()
        say_where_to_coordinate(self._state, job)
        # (what the job coordinates by is there as long as its server is)
        with open_queue(self._state) if job.spec.get("coordination") else nullcontext():
            yield context.base

    def suspend(self, on: bool) -> None:
        """See `client.place.Place`."""
        with open_queue(self._state) as queue:
            queue.suspend(on)

    @contextmanager
    def reopening(self) -> Iterator[None]:
        """See `client.place.Place`."""
        self._state.save_status(None)
        yield
        self._state.save_status(None)  # (a run that ended meanwhile has noted how)

    def how_to_go_on(self) -> str:
        """See `client.place.Place`."""
        return "" if self.is_live() else "; nothing runs now: `gristmill run` goes on"

    def _described(self, told: dict[str, Any], live: bool) -> dict[str, Any]:
        """Return the status, with the rate that the runner sees; what could go on but is not run is stopped."""
        status = status_of(told, [], self._state.job().output)
        noted = self._state.last_status()
        if ended(status):
            return status
        if not live:
            status.update(state=str(JobState.STOPPED), workers=0)
        status.update(ratePerSecond=None, etaSeconds=None)
        if live and noted is not None:
            status.update(ratePerSecond=noted["ratePerSecond"], etaSeconds=noted["etaSeconds"])
        return status


class LogFiles:
    """Reads what was added to the log files of a run since it was last asked."""

    pause = 0.2

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, BinaryIO] = {}

    def records(self) -> list[dict[str, Any]]:
        """See `client.place.PrintedLines`."""
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
        return sorted(found, key=lambda record: record["time"])
