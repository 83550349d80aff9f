"""The operator's connection to the queue: one look at all jobs at a time, and the few things that it says.

The queue's client is synchronous and waits for a server that is away; here nothing may wait, so calls are made in a
thread, once, and the reconciliation that wanted one comes again. What did not work is a QueueError, and `answers`
tells whether the server is away. What it refuses (it is full, or the keys of a job are damaged) is an answer: it
concerns that call, and neither the connection nor other jobs. Where it refuses a look, nobody knows how any job is:
that is silence.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from redis.exceptions import AuthenticationError, ConnectionError, ResponseError, TimeoutError

from gristmill.errors import QueueError
from gristmill.protocol.client import Queue, connect
from gristmill.protocol.job import JobContext
from gristmill.protocol.keys import keys_of
from gristmill.protocol.refusals import NoSuchJob, refusal_of
from gristmill.protocol.statuses import DAMAGED, statuses
from gristmill.reconcilers.access import password_of, rules_of, user_of

log = logging.getLogger(__name__)

T = TypeVar("T")

#: seconds that the queue may take for an answer to the operator
_ANSWER_SECONDS = 5.0
#: the field of a job in the queue that says where its ChunkJob is
_NAMESPACE = "namespace"
#: the lengths that the name of one has
_LETTERS = range(1, 64)


class QueueLink:
    """What the operator asks of the queue, with the rights of its default user."""

    def __init__(self, server: str, key: bytes) -> None:
        self.server = server
        self._key = key
        self._password = ""
        self._client: Any = None
        #: whether the server was seen to have the functions
        self._has_library = False
        #: when (ms) a job was first seen to be damaged, by uid
        self._damaged: dict[str, str] = {}
        self._lock = asyncio.Lock()
        #: whether it was tried to ask, so that `answers` means something
        self.asked = False
        #: whether the server is there: a connection was not lost since the last answer
        self.answers = False
        #: seconds that its clock is ahead of this one; None while that is not known
        self.ahead: float | None = None

    def use_password(self, password: str) -> None:
        """Take the password of the queue's default user."""
        if password != self._password:
            self._password = password
            self._client = None

    @property
    def has_password(self) -> bool:
        """Whether the password is known."""
        return bool(self._password)

    async def look(self, uids: Sequence[str]) -> tuple[dict[str, dict[str, Any] | None], set[str]]:
        """Return what the queue says of each job (None: it does not know it), and the names of all users."""
        try:
            ahead, told, users = await self._call(
                lambda client: (_ahead(client), statuses(client, uids), _users(client))
            )
            self._check_functions(told)
        except QueueError:
            self.answers = False
            raise
        self.ahead = ahead
        for uid, what in told.items():
            if what is None or what["job"].get("reason") != DAMAGED:
                self._damaged.pop(uid, None)
            else:  # (it tells no times)
                what["now"] = int((time.time() + ahead) * 1000)
                since = self._damaged.setdefault(uid, str(what["now"]))
                what["job"] |= {"created": since, "finished": since}
        return told, users

    def _check_functions(self, told: dict[str, dict[str, Any] | None]) -> None:
        """Raise QueueError where it is not the keys of jobs that are strange, but the functions: of another version."""
        known = [what["job"] for what in told.values() if what is not None]
        if known and not self._has_library and all(job.get("reason") == DAMAGED for job in known):
            raise QueueError(f"the queue has not taken this version's functions: {known[0]['message']}")

    async def namespaces(self, uids: Sequence[str]) -> dict[str, str]:
        """Return the namespaces that the ChunkJobs of jobs were in; "" where the queue does not know."""

        def call(client: Any) -> dict[str, str]:
            # (a job can make of its own keys what it likes)
            sizes = _answers(client, "HSTRLEN", uids)
            short = [uid for uid, size in zip(uids, sizes, strict=True) if size in _LETTERS]
            names = zip(short, _answers(client, "HGET", short), strict=True)
            known = {uid: name.decode(errors="replace") for uid, name in names if isinstance(name, bytes)}
            return {uid: known.get(uid, "") for uid in uids}

        return await self._call(call)

    async def admit(self, uid: str, namespace: str, context: JobContext, epoch: int) -> None:
        """See that the queue has the job and its user."""

        def call(client: Any) -> None:
            self._set_user(client, uid)
            _queue(client, uid).create({**context.fields(epoch), _NAMESPACE: namespace})

        await self._call(call)

    async def set_user(self, uid: str) -> None:
        """See that the queue has the user of a job, with its password of now."""
        await self._call(lambda client: self._set_user(client, uid))

    def _set_user(self, client: Any, uid: str) -> None:
        rules = rules_of(uid, password_of(self._key, uid))
        client.execute_command("ACL", "SETUSER", user_of(uid), *rules)
        client.execute_command("ACL", "SAVE")

    async def configure(self, uid: str, parameters: dict[str, str | int]) -> None:
        """Change parameters of a job."""
        await self._call(lambda client: _queue(client, uid).configure(parameters))

    async def fail(self, uid: str, epoch: int, reason: str, message: str) -> None:
        """End a job."""
        await self._call(lambda client: _queue(client, uid).fail_job(epoch, reason, message))

    async def cancel(self, uid: str) -> None:
        """Give a job up."""
        await self._call(lambda client: _queue(client, uid).cancel())

    async def forget(self, uid: str) -> None:
        """Remove keys and user of a job."""

        def call(client: Any) -> None:
            # (the user goes last, for by its name what is left would be found; it can make no keys any more)
            client.execute_command("ACL", "SETUSER", user_of(uid), "reset")
            _queue(client, uid).remove()
            client.execute_command("ACL", "DELUSER", user_of(uid))
            client.execute_command("ACL", "SAVE")

        await self._call(call)
        self._damaged.pop(uid, None)

    async def _call(self, call: Callable[[Any], T]) -> T:
        async with self._lock:
            try:
                answer = await asyncio.to_thread(self._attempt, call)
            except AuthenticationError as error:
                self.answers, self._client, self._password = False, None, ""
                raise QueueError(f"the queue does not take the operator's password: {error}") from error
            except (ConnectionError, TimeoutError, OSError) as error:
                self.answers, self._client = False, None
                raise QueueError(f"the queue does not answer: {error}") from error
            except ResponseError as error:
                raise refusal_of(error) from error
            finally:
                self.asked = True
            self.answers = True
            return answer

    def _attempt(self, call: Callable[[Any], T]) -> T:
        try:
            return call(self._connected())
        except NoSuchJob:  # (the server may have lost the functions, and learn them again)
            self._has_library = False
            return call(self._connected())

    def _connected(self) -> Any:
        client = self._client
        if client is None:
            password = quote(self._password, safe="")
            client = connect(f"redis://:{password}@{self.server}/0", answer_seconds=_ANSWER_SECONDS)
            self._client, self._has_library = client, False
        if not self._has_library:
            self._has_library = _load_library(client)
        return client


def _load_library(client: Any) -> bool:
    """See that the server has the functions; return whether it has. What is full takes none, and can yet be emptied."""
    queue = _queue(client, "-")
    if not queue.has_library():
        try:
            queue.load_library()
        except QueueError as error:
            log.warning("the queue does not take this version's functions: %s", error)
            return False
    return True


def _queue(client: Any, uid: str) -> Queue:
    return Queue(client, uid, once=True)


def _answers(client: Any, command: str, uids: Sequence[str]) -> list[Any]:
    """Return what a command on the namespaces of jobs is answered; an error of the server is an answer."""
    pipeline = client.pipeline(transaction=False)
    for uid in uids:
        pipeline.execute_command(command, keys_of(uid)[0], _NAMESPACE)
    return list(pipeline.execute(raise_on_error=False))


def _ahead(client: Any) -> float:
    seconds, microseconds = client.time()
    return float(seconds + microseconds / 1e6 - time.time())


def _users(client: Any) -> set[str]:
    return {name.decode() for name in client.execute_command("ACL", "USERS")}
