"""Where a job is: what the commands that look at one, and steer it, need of a state folder or of a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from gristmill.planning.plan import Plan
    from gristmill.protocol.client import Queue
    from gristmill.protocol.job import JobContext


class PrintedLines(Protocol):
    """What the user's code printed, read little by little."""

    #: seconds between two looks that do nobody harm
    pause: float

    def records(self) -> Iterable[dict[str, Any]]:
        """Return what was added since the last call, oldest first."""


class Place(Protocol):
    """A job, where it is."""

    #: whether files of the input are as near as they are to the workers
    has_files: bool

    @property
    def words(self) -> str:
        """What names the job in another command."""

    def is_live(self) -> bool:
        """Whether somebody runs the job now."""

    def status(self) -> dict[str, Any]:
        """Return the status."""

    def describe(self, told: dict[str, Any]) -> dict[str, Any]:
        """Return the status of a job of which the queue has just said this."""

    def queue(self) -> AbstractContextManager[Queue]:
        """Give the job's queue."""

    def printed(self) -> PrintedLines:
        """Return a reader of what the user's code printed."""

    def results(self, *, take: bool) -> Iterator[list[Any]]:
        """Iterate over the results in input order, some at a time.

        `take`: as they are made, where the queue keeps them; it drops those of a list when the next is asked for.
        """

    def read(self, plan: Plan, chunk: int) -> Sequence[Any]:
        """Return the items of a chunk."""

    def modules(self, context: JobContext) -> AbstractContextManager[str]:
        """Give the folder in which the job's modules are looked for first."""

    def suspend(self, on: bool) -> None:
        """Start no chunk any more, or go on."""

    def reopening(self) -> AbstractContextManager[None]:
        """Open dead letters inside this: no status says then that the job has ended."""

    def how_to_go_on(self) -> str:
        """Return what the user has to do so that it goes on, in words that end a sentence; or nothing."""
