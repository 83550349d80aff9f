"""When the login of a kube config is renewed: before it runs out, where that is known, and when it was refused."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import time
import traceback
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import TypeVar

from gristmill.coordination.saying import say
from gristmill.coordination.tasks import end

log = logging.getLogger(__name__)

#: seconds after a login until the next one
_PAUSE_SECONDS = 5.0
#: the time before its end, in seconds and as a part of its life, at which a login is renewed: the lesser of both
_AHEAD_SECONDS = 60.0
_AHEAD_PART = 1 / 5
#: seconds for which the end of a plugin that is killed is waited for
_END_SECONDS = 1.0
#: what is said of one for which there was no time
_HANGS = "the kube config's login has not ended in time: see what its command waits for"

T = TypeVar("T")


class Login:
    """Logs in anew by `call`, by one call at a time, however long that takes and however many want it.

    `call` returns the time at which what was got runs out, in seconds since 1970, or None where that is not known; so
    does `until` of what there is.
    """

    def __init__(
        self, call: Callable[[], Awaitable[float | None]], until: float | None, failure: str | None = None
    ) -> None:
        #: why the last login failed; None where it did not
        self.failure = failure
        self._call = call
        self._task: asyncio.Task[None] | None = None
        #: when it may be begun again where it was refused, and ahead of time: a plugin that keeps a token
        #: gives it again before its end, and another one after that
        self._not_before = self._ahead_not_before = -inf
        self._due_at = _due_at(until)

    def look(self) -> None:
        """Begin to log in where it is time for that."""
        if time.monotonic() >= self._due_at:
            self._begin(self._ahead_not_before, ahead=True)

    async def renew(self, seconds: float | None) -> None:
        """Log in anew, unless that was done here just now; where it goes on wait for that.

        TimeoutError where it takes longer; it goes on then. Who is cancelled before finds in that what was waited for.
        """
        self._begin(self._not_before, ahead=False)
        if self._task is not None:  # (who waits is not who does it: where they go others still get it)
            try:
                _, left = await asyncio.wait({self._task}, timeout=seconds)
            except asyncio.CancelledError:
                raise asyncio.CancelledError(_HANGS) from None
            if left:
                raise TimeoutError(f"the kube config's login has not ended for {seconds:g} s")

    async def close(self) -> None:
        """End what goes on."""
        await end(self._task)

    def _begin(self, not_before: float, *, ahead: bool) -> None:
        goes_on = self._task is not None and not self._task.done()
        if not goes_on and time.monotonic() >= not_before:
            self._task = asyncio.create_task(self._log_in(ahead=ahead), name="logging in")

    async def _log_in(self, *, ahead: bool) -> None:
        try:
            until = await self._call()
            self.failure = None
            if until is not None or self._due_at == inf:  # (else it is due still: it has told its end before)
                self._due_at = _due_at(until)
        except Exception as error:  # (of whatever a kube config names)
            self.failure = without_entry(str(error)) or type(error).__name__
            say(log, logging.WARNING, "the kube config's login can't be renewed: %s", self.failure)
        finally:
            self._ahead_not_before = time.monotonic() + _PAUSE_SECONDS
            if not ahead:
                self._not_before = self._ahead_not_before


async def with_plugin(work: Awaitable[T]) -> T:
    """Await a login of the kube config. Where that is cancelled the plugin that it has asked is ended, too.

    `kubernetes` leaves it running, and its pipes to the end of the loop.
    """
    try:
        return await work
    except asyncio.CancelledError as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        for known in [one for frame in frames for one in frame.f_locals.values()]:
            if isinstance(known, Process):
                await _end_plugin(known)
        raise


async def _end_plugin(process: Process) -> None:
    """Kill a process, and let go of its pipes, which others may have, too."""
    process._transport.close()  # type: ignore[attr-defined]  # (there is no other way to do the latter)
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()


def without_entry(words: str) -> str:
    """Return what `kubernetes` says of a kube config without the user's entry, which has the secrets.

    That is the place where it misses a key: FILE/{'name': ..., 'user': {...}}/user/...
    """
    return re.sub(r"(Expected key \S+) in [^{]*\{.*", r"\1 in the kube config", words, flags=re.DOTALL)


def _due_at(until: float | None) -> float:
    """Return when by time.monotonic() it is time to log in: never where the end is not known, or the clock is wrong."""
    life = 0.0 if until is None else until - time.time()
    return time.monotonic() + life - min(_AHEAD_SECONDS, life * _AHEAD_PART) if life > 0 else inf


def end_of(token: str) -> float | None:
    """Return when a token says that it runs out, in seconds since 1970; None where it is no JWT."""
    with suppress(ValueError, LookupError, TypeError):
        said = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)))["exp"])
    return None
