"""The queue as Python sees it: one typed method for each function of the library, safe to call again.

Every call is repeated on a new connection while the server can't be reached, or is short of memory or disk;
the functions are made so that a repeated call gives the same answer. (redis-py's own retries are off: it also
repeats what must not be repeated.)
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import msgpack
import orjson
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from gristmill import settings
from gristmill.errors import JobGivenUp, QueueError
from gristmill.planning.values import DeadLetter, Lease
from gristmill.protocol.keys import keys_of
from gristmill.protocol.library import NAME, library
from gristmill.protocol.refusals import NoSuchJob, lacks_functions, refusal_of, will_pass
from gristmill.protocol.statuses import told_by
from gristmill.protocol.steps import Step

T = TypeVar("T")

#: dead letters that one call opens again, so that no call holds up the server
_RETRY_BATCH = 500
#: dead letters that are fetched at a time
_LETTERS = 1000
#: ms for which a durable call waits for the server's log before it is repeated
_LOG_MS = 10_000
#: seconds for which a queue that may be frozen is waited for
_WORD_SECONDS = 1.0
#: what is said of a dead letter beyond the bound
_UNKNOWN = {
    "kind": "unknown",
    "attempts": 0,
    "worker": "",
    "error": "details are kept for the first failures only",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a report.

    `error`: None, "epoch" (the queue began anew) or "stale" (a later call was answered).
    """

    phase: str
    accepted: list[bool]
    leases: list[Lease]
    error: str | None

    @property
    def lease(self) -> Lease | None:
        """The first lease, or None."""
        return self.leases[0] if self.leases else None


@dataclass(frozen=True, slots=True)
class Pulse:
    """The answer to a heartbeat: leases that are gone, and leases whose tail somebody waits for."""

    phase: str
    epoch: int
    gone: list[str]
    asked: list[str]


@dataclass(frozen=True, slots=True)
class Collected:
    """Results in input order, up to the chunk `cursor`."""

    cursor: int
    payloads: list[bytes]
    phase: str
    chunks: int


def connect(url: str, answer_seconds: float = settings.ANSWER_SECONDS) -> Redis:
    """Return a client for a `unix://`, `redis://` or `rediss://` URL; an answer may take so long."""
    return Redis.from_url(
        url, socket_timeout=answer_seconds, retry=Retry(NoBackoff(), 0), decode_responses=False
    )


def word_of(url: str, job: str, seconds: float = _WORD_SECONDS) -> dict[str, Any] | None:
    """Return what the queue at a URL says of a job (`Queue.status`); None where it does not within about so long."""
    with closing(Queue(connect(url, seconds), job, once=True)) as queue:
        try:
            return queue.status()
        except (RedisError, OSError, QueueError):
            return None


class Queue:
    """The queue of one job."""

    def __init__(
        self, client: Redis, job: str, *, durable: bool = False, once: bool = False, admission: float = 0
    ) -> None:
        self._client = client
        self._keys = keys_of(job)
        self._durable = durable
        #: a call is not repeated: a lost connection is raised as it is, and what the server refuses as QueueError
        self._once = once
        #: seconds that the server may not know the client's user yet
        self._admission = admission
        self._sequence = 0
        #: called between two tries while the server can't be reached; may raise to give up
        self.on_wait: Callable[[], None] = lambda: None

    def close(self) -> None:
        """Close the connection; another call makes a new one."""
        self._client.close()

    # -- jobs

    def load_library(self) -> None:
        """Load this version's functions into the server."""
        self._again(lambda: self._client.function_load(library(), replace=True))

    def has_library(self) -> bool:
        """Return whether the server has this version's functions, to the letter."""
        found: Any = self._again(lambda: self._client.function_list(NAME, withcode=True))
        code = library().encode()
        return any(code in (one.values() if isinstance(one, dict) else one) for one in found)

    def exists(self) -> bool:
        """Return whether the queue holds the job."""
        return bool(self._again(lambda: self._client.exists(self._keys[0])))

    def create(self, fields: dict[str, str | int | bytes]) -> bool:
        """Make the job, to be planned by the first worker; False when it is there already."""
        return bool(self._call("create", *[x for pair in fields.items() for x in pair]))

    def configure(self, fields: dict[str, str | int]) -> None:
        """Change parameters of the job."""
        self._call("configure", *[x for pair in fields.items() for x in pair])

    def suspend(self, on: bool) -> None:
        """Lease nothing any more, or again."""
        self._call("suspend", "1" if on else "0")

    def retry(self, names: list[str]) -> int:
        """Open dead letters ("chunk:item"; none: all) again, and the ended job with them; return how many.

        Raises QueueError when results behind one of them have been collected, or the job was given up.
        """
        if not names:
            found: Any = self._again(lambda: self._client.hkeys(self._keys[6]))
            names = sorted((name.decode() for name in found), key=_position)
        total = 0
        for batch in range(0, max(1, len(names)), _RETRY_BATCH):
            count = int(self._call("retry", *names[batch : batch + _RETRY_BATCH]))
            if count == -2:
                raise JobGivenUp
            if count < 0:
                raise QueueError(
                    "results behind these dead letters were collected already; run the job anew instead"
                )
            total += count
        return total

    def fail_job(self, epoch: int, reason: str, message: str) -> bool:
        """End the job as failed; False when it was not running."""
        return bool(self._call("fail_job", epoch, reason, message))

    def claim_code(self, epoch: int, code: dict[str, str], *, accept: bool) -> str:
        """Tell what code a worker has loaded, as digests by module; return a module of which the job has another.

        "" where there is none; with `accept` the job has what is told. (A queue with the functions of a former version
        can't tell.)
        """
        try:
            return str(self._call("code", epoch, orjson.dumps(code), int(accept)).decode())
        except NoSuchJob as error:
            if isinstance(error.__cause__, ResponseError) and lacks_functions(error.__cause__):
                return ""
            raise

    def cancel(self) -> str:
        """Give the job up; return its phase: "removing" until what is staged is removed, then "removed"."""
        return str(self._call("cancel").decode())

    def remove(self) -> None:
        """Delete everything of the job."""
        self._again(lambda: self._client.unlink(*self._keys))

    # -- workers

    def hello(self, worker: str, info: dict[str, Any]) -> dict[str, Any]:
        """Introduce a worker; return {epoch, phase, spec, digest}."""
        return self._unpacked("hello", worker, orjson.dumps(info))

    def report(self, worker: str, epoch: int, steps: list[Step], want: int | None, most: int = 1) -> Reply:
        """Tell what happened to leases; lease `most` intervals of at most 2^`want` chunks each (None: nothing)."""
        self._sequence += 1
        payloads: list[bytes] = []
        request: dict[str, Any] = {"steps": [s.to_wire(payloads) for s in steps]}
        if want is not None:
            request["want"] = want
            request["most"] = most
        data = msgpack.packb(request)
        reply = self._unpacked("report", worker, self._sequence, epoch, data, random.random(), *payloads)
        return Reply(
            phase=reply["phase"],
            accepted=list(reply["accepted"]),
            leases=[_lease(lease, epoch) for lease in reply.get("leases") or []],
            error=reply.get("error"),
        )

    def heartbeat(self, worker: str, epoch: int, info: dict[str, Any], current: dict[str, int]) -> Pulse:
        """Renew the worker and its leases; `current` has the chunk that runs now for each."""
        return Pulse(**self._unpacked("heartbeat", worker, epoch, orjson.dumps(info), msgpack.packb(current)))

    def bye(self, worker: str, *, lost: bool) -> int:
        """Give back all leases of a worker that goes, or (`lost`) was found dead; return how many."""
        return int(self._call("bye", worker, "1" if lost else "0"))

    # -- results and facts

    def collect(self, cursor: int, size: int) -> Collected:
        """Acknowledge all results below `cursor` and return about `size` bytes of those that follow."""
        return _collected(self._call("collect", cursor, size))

    def peek(self, cursor: int, size: int) -> Collected:
        """Return what `collect` would, and change nothing: it can be looked at again."""
        return _collected(self._call("peek", cursor, size, read_only=True))

    def status(self) -> dict[str, Any]:
        """Return what `lua/inspect.lua` describes, with text as str."""
        return told_by(self._call("status", read_only=True))

    def context(self) -> bytes | None:
        """Return what workers are told of the job: the JSON of a `JobContext`."""
        return self._again(lambda: self._client.hget(self._keys[0], "spec"))  # type: ignore[return-value]

    def plan(self) -> bytes | None:
        """Return the JSON of the plan, once there is one."""
        return self._again(lambda: self._client.hget(self._keys[0], "plan"))  # type: ignore[return-value]

    def block_range(self, block: int) -> tuple[int, int]:
        """Return the chunks [start, stop) that a final block of the plan has, or would have at the end of the job."""
        height = int(self._again(lambda: self._client.hget(self._keys[0], "block_height")) or 0)
        return block << height, (block + 1) << height

    def dead_letters(self, start: int = 0, stop: float = math.inf) -> Iterator[DeadLetter]:
        """Yield those of chunks [start, stop) by chunk and item; beyond the bound only their positions are known."""
        names: Any = self._again(lambda: self._client.hkeys(self._keys[6]))
        places = sorted(place for name in names if start <= (place := _position(name.decode()))[0] < stop)
        for first in range(0, len(places), _LETTERS):
            some = places[first : first + _LETTERS]
            fields = [f"{chunk}:{item}" for chunk, item in some]
            values: Any = self._again(partial(self._client.hmget, self._keys[6], fields))
            for (chunk, item), value in zip(some, values, strict=True):
                if value is not None:  # (it may have been opened again meanwhile)
                    items, _, letter = value.partition(b" ")
                    known = orjson.loads(letter) if letter else _UNKNOWN
                    yield DeadLetter(**{**known, "chunk": chunk, "item": item, "items": int(items)})

    def dead_count(self) -> int:
        """Return the number of dead letters."""
        return int(self._again(lambda: self._client.hlen(self._keys[6])))

    def fragments(self, start: int, stop: int) -> dict[int, int]:
        """Return the number of items of each chunk of [start, stop) that was split."""
        found: Any = self._again(lambda: self._client.hgetall(self._keys[7]))
        return {
            chunk: int(size)
            for name, size in found.items()
            if name.startswith(b"n:") and start <= (chunk := int(name[2:])) < stop
        }

    def history(self) -> list[tuple[float, dict[str, str]]]:
        """Return the kept history as (unix seconds, fields), oldest first."""
        found: Any = self._again(lambda: self._client.xrange(self._keys[14]))
        return [
            (
                int(stamp.split(b"-")[0]) / 1000,
                {k.decode(): v.decode(errors="replace") for k, v in fields.items()},
            )
            for stamp, fields in found
        ]

    # -- calls

    def _unpacked(self, function: str, *args: Any, read_only: bool = False) -> dict[str, Any]:
        reply = self._call(function, *args, read_only=read_only)
        # a message that was cut may end in the middle of a character
        found: dict[str, Any] = msgpack.unpackb(reply, strict_map_key=False, unicode_errors="replace")
        return found

    def _call(self, function: str, *args: Any, read_only: bool = False) -> Any:
        words = (f"gristmill_{function}", len(self._keys), *self._keys, *args)
        if read_only:
            return self._again(lambda: self._client.fcall_ro(*words))
        if not self._durable:
            return self._again(lambda: self._client.fcall(*words))
        return self._again(lambda: self._durably(words))

    def _durably(self, words: tuple[Any, ...]) -> Any:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.execute_command("FCALL", *words)  # type: ignore[no-untyped-call]
        pipeline.execute_command("WAITAOF", 1, 0, _LOG_MS)  # type: ignore[no-untyped-call]
        # (what `execute` raises by itself has another text than the server's)
        answers = pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        reply, (written, _) = answers
        if written < 1:
            raise TimeoutError(f"the server has not written its log within {_LOG_MS} ms")
        return reply

    def _again(self, call: Callable[[], T]) -> T:
        """Call until the server answers, for `settings.RECONNECT_SECONDS` at the most."""
        begun = time.monotonic()
        pause = 0.01
        while True:
            try:
                return call()
            except AuthenticationError as error:
                if self._once:
                    raise
                if time.monotonic() >= begun + self._admission:
                    raise QueueError(f"the queue refused the call: {error}") from error
            except (ConnectionError, TimeoutError, ResponseError) as error:
                if isinstance(error, ResponseError) and (self._once or not will_pass(error)):
                    raise refusal_of(error) from error
                if self._once:
                    raise
                if time.monotonic() > begun + settings.RECONNECT_SECONDS:
                    raise QueueError(f"the queue does not answer: {error}") from error
            self.on_wait()
            time.sleep(pause)
            pause = min(pause * 2, 0.5)


def _collected(reply: bytes) -> Collected:
    found = msgpack.unpackb(reply, raw=True)
    return Collected(
        int(found[b"cursor"]), list(found[b"payloads"]), found[b"phase"].decode(), int(found[b"chunks"])
    )


def _position(name: str) -> tuple[int, int]:
    chunk, _, item = name.partition(":")
    return int(chunk), int(item)


def _lease(wire: dict[str, Any], epoch: int) -> Lease:
    return Lease(
        nonce=wire["nonce"],
        epoch=epoch,
        start=int(wire["start"]),
        stop=int(wire["stop"]),
        low=int(wire["low"]),
        high=int(wire["high"]),
        attempt=int(wire["attempt"]),
        careful=wire["losses"] > 0,
        chore=wire["chore"],
    )
