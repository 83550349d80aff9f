"""Records in a Valkey: coordination where there is no cluster, by the same calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from importlib.resources import files
from ssl import SSLCertVerificationError
from typing import Any, NoReturn

import msgpack
from redis.asyncio import Redis, SSLConnection
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from gristmill.coordination.errors import (
    Conflict,
    Denied,
    Exists,
    HistoryGone,
    Missing,
    Refused,
    Unavailable,
    Unreachable,
    unconnected,
)
from gristmill.coordination.port import Change, Changes, Kind, Owner, Record, Scope, check_size

#: seconds that an answer may take
_ANSWER_SECONDS = 10.0
#: ms for which a look at the log waits for news
_NEWS_MS = 2_000
#: connections that there may be: each who waits for a lock has one, and who holds one needs one to renew it
_CONNECTIONS = 2**31
#: what a user needs, who is named in the URL: redis://USER:PASSWORD@HOST
_RIGHTS = (
    "who coordinates needs a user and password in the URL where the server has some, with the rights "
    "~gristmill:coordination:* +@hash +@string +@stream +@scripting +@transaction +time"
)
#: what a server says that can't answer now, but will: while it fails over, saves, runs a script, or is full
_PASSES = (ClusterDownError, OutOfMemoryError, ReadOnlyError)  # (the first is MASTERDOWN, too)
_PASSING_WORDS = ("UNBLOCKED", "NOREPLICAS", "MISCONF", "BUSY")
_REFUSALS = {"EXISTS": Exists, "MISSING": Missing, "CONFLICT": Conflict, "NOOWNER": Missing}


class ValkeyStore:
    """The records of a name space of a server."""

    def __init__(self, url: str, namespace: str) -> None:
        # (with time-outs of its own the client swallows the cancellation of a call, by Python 3.11's asyncio.wait_for)
        self._client: Any = Redis.from_url(
            url,
            socket_timeout=None,
            socket_connect_timeout=None,
            max_connections=_CONNECTIONS,
            retry=Retry(NoBackoff(), 0),
        )
        pool: Any = self._client.connection_pool
        connection = pool.make_connection()  # (a parameter of the URL that is none is found only here)
        if isinstance(connection, SSLConnection):
            try:
                connection.ssl_context.get()
            except OSError as error:  # (those of ssl, too)
                raise ValueError(f"its ssl_ options can't be used: {error.strerror or error}") from None
        begin = f"gristmill:coordination:{{{namespace}}}"
        self._records = {kind: f"{begin}:{kind}" for kind in (Kind.LOCK, Kind.SESSION, Kind.NODE)}
        self._log, self._last = f"{begin}:log", f"{begin}:last"
        self._script = self._client.register_script(
            (files("gristmill.coordination") / "valkey.lua").read_text(encoding="utf-8")
        )

    async def get(self, kind: Kind, name: str) -> Record | None:
        """Return a record as it is now, or None."""
        found = await _answer(self._client.hget(self._records[kind], name))
        return None if found is None else _record(kind, name, found)

    async def list(self, scope: Scope) -> tuple[Sequence[Record], int]:
        """Return the records, and the revision at which they were so."""
        pipeline = self._client.pipeline(transaction=True)
        pipeline.get(self._last)
        if scope.name:
            pipeline.hget(self._records[scope.kind], scope.name)
        else:
            pipeline.hgetall(self._records[scope.kind])
        last, found = await _answer(pipeline.execute())
        if scope.name:
            found = {scope.name.encode(): found} if found is not None else {}
        records = (_record(scope.kind, name.decode(), text) for name, text in found.items())
        return [record for record in records if scope.group in ("", record.group)], int(last or 0)

    async def create(self, record: Record) -> Record:
        """Make a record, and return it as it is then."""
        check_size(record.value)
        owner = record.owner and [record.owner.name, record.owner.uid]
        given = {
            "group": record.group,
            "fields": dict(record.fields),
            "value": record.value,
            "owner": owner or False,
        }
        return await self._write("create", record.kind, record.name, given)

    async def update(
        self,
        kind: Kind,
        name: str,
        changes: Changes,
        *,
        value: bytes | None = None,
        where: Changes | None = None,
        revision: int | None = None,
    ) -> Record:
        """Change fields and value of a record under conditions; return it as it is then."""
        check_size(value or b"")
        given = {
            "changes": _texts(changes),
            "value": value,
            "where": _texts(where or {}),
            "revision": revision,
        }
        return await self._write("update", kind, name, given)

    async def delete(self, kind: Kind, name: str, *, revision: int | None = None, uid: str = "") -> None:
        """Delete a record, and what it owns."""
        await self._write("delete", kind, name, {"revision": revision, "uid": uid})

    async def watch(self, scope: Scope, revision: int) -> AsyncIterator[Change]:
        """Yield every change after a revision in its order, without end."""
        seen, block = revision, None
        await self._check_known(revision)
        while True:
            news = self._client.xread({self._log: f"{seen}-0"}, count=1000, block=block)
            found, block = await _answer(news), _NEWS_MS
            yield Change(seen)  # (not before the log could be read: that may be refused)
            for entry, fields in found[0][1] if found else ():
                if int(fields[b"before"]) != seen:
                    raise HistoryGone(f"the changes after revision {seen} are not known any more")
                seen = int(entry.partition(b"-")[0])
                yield _change(scope, seen, fields)

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def _check_known(self, revision: int) -> None:
        """Raise HistoryGone where the server never was at a revision: it has lost its memory."""
        if int(await _answer(self._client.get(self._last)) or 0) < revision:
            raise HistoryGone(f"the server knows nothing of revision {revision}")

    async def _write(self, what: str, kind: Kind, name: str, given: dict[str, Any]) -> Record:
        words = {key: value for key, value in given.items() if value is not None}
        args = [what, str(kind), name, msgpack.packb(words, use_bin_type=False)]
        keys = [*self._records.values(), self._log, self._last]
        return _record(kind, name, await _answer(self._script(keys=keys, args=args)))


async def _answer(call: Awaitable[Any]) -> Any:
    """Return the answer to a call. Unavailable, Denied, Refused, or what the script says, where there is none."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await call
    except TimeoutError as error:
        raise Unavailable(f"the server has not answered for {_ANSWER_SECONDS:g} s") from error
    except (RedisError, OSError) as error:
        _refuse(error)


def _texts(changes: Changes) -> dict[str, str | bool]:
    return {name: False if text is None else text for name, text in changes.items()}


def _record(kind: Kind, name: str, packed: bytes) -> Record:
    found = msgpack.unpackb(packed, raw=True)
    return Record(
        kind=kind,
        name=name,
        group=found[b"group"].decode(),
        # (an empty table of Lua is a list)
        fields={key.decode(): text.decode() for key, text in dict(found[b"fields"] or {}).items()},
        value=found[b"value"],
        owner=Owner(*(word.decode() for word in found[b"owner"])) if found[b"owner"] else None,
        revision=int(found[b"revision"]),
        uid=found[b"uid"].decode(),
    )


def _change(scope: Scope, revision: int, entry: dict[bytes, bytes]) -> Change:
    kind, name, group = entry[b"kind"].decode(), entry[b"name"].decode(), entry[b"group"].decode()
    if kind != scope.kind or scope.group not in ("", group) or scope.name not in ("", name):
        return Change(revision)
    return Change(revision, _record(scope.kind, name, entry[b"record"]), entry[b"deleted"] == b"1")


def _refuse(error: Exception) -> NoReturn:
    words = str(error)
    if isinstance(error.__cause__, RuntimeError):
        raise unconnected(words) from error
    known = _REFUSALS.get(words.partition(" ")[0])
    if isinstance(error, ResponseError) and known is not None:
        raise known(f"{words.partition(' ')[2]}: {known.__name__.lower()}") from None
    barred = NoPermissionError | AuthenticationError
    # (what the client is told while it connects it tells as a lost connection)
    if isinstance(error, barred) or isinstance(error.__cause__, barred) or "ACL failure" in words:
        raise Denied(f"the server refuses it to this user: {words}; {_RIGHTS}") from error
    passes = isinstance(error, _PASSES) or words.startswith(_PASSING_WORDS)
    if isinstance(error, ResponseError) and not passes:
        raise Refused(f"the server refuses it: {words}") from error
    kind = Unreachable if isinstance(error.__context__, SSLCertVerificationError) else Unavailable
    raise kind(f"the server does not answer: {words or type(error).__name__}") from error
