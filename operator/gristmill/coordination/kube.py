"""Records as objects of Kubernetes: Leases and ConfigMaps, so that `kubectl`, RBAC and GitOps work on them.

Calls are made with plain JSON: a Lease read into the classes of a client and written again would lose what they do not
know, and takes ten times as long. Every change is one JSON patch whose tests are its
conditions: it needs no reading before it, and those that change other fields do not get in its way.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, NoReturn
from urllib.parse import urlencode

import aiohttp

from gristmill.coordination.connections import Connection
from gristmill.coordination.errors import (
    Conflict,
    CoordinationError,
    Denied,
    Exists,
    HistoryGone,
    Missing,
    Refused,
    Unavailable,
    Unreachable,
    unconnected,
)
from gristmill.coordination.jobs import is_in_job
from gristmill.coordination.kube_objects import (
    KIND_LABEL,
    is_lock,
    is_so,
    manifest_of,
    patch_of,
    record_of,
    selectors,
)
from gristmill.coordination.port import Change, Changes, Kind, Record, Scope, check_size
from gristmill.coordination.saying import say

log = logging.getLogger(__name__)

#: seconds that an answer may take; that may pass between two lines of a watch (it has one a minute); that a watch may
#: take
_ANSWER_SECONDS = 10.0
_QUIET_SECONDS = 90.0
_WATCH_SECONDS = 3_600
#: seconds until a server that is away, or busy, is asked again, at the least and the most
_AWAY_SECONDS = (0.05, 3.0)
#: how often what met others on its way is tried
_TRIES = 12
#: what the API server says where it refuses for another reason than that somebody has no right to it
_NO_MATTER_OF_RIGHTS = re.compile(r"\b(exceeded quota|failed quota|unknown for quota|is being terminated)\b")
#: records of a page of a list
_PAGE = 500


class KubeStore:
    """The records of a namespace of a cluster."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def get(self, kind: Kind, name: str) -> Record | None:
        """Return a record as it is now, or None."""
        try:
            return record_of(kind, await self._get(kind, name))
        except Missing:
            return None

    async def list(self, scope: Scope) -> tuple[Sequence[Record], int]:
        """Return the records, and the revision at which they were so."""
        records: list[Record] = []
        words = {**selectors(scope), "limit": str(_PAGE)}
        while True:
            found = await self._call("GET", f"{self._path(scope.kind)}?{urlencode(words)}")
            records += [
                record_of(scope.kind, one)
                for one in found["items"]
                if scope.kind is not Kind.LOCK or is_lock(one)
            ]
            if not found["metadata"].get("continue"):
                return records, int(found["metadata"]["resourceVersion"])
            words["continue"] = found["metadata"]["continue"]

    async def create(self, record: Record) -> Record:
        """Make a record, and return it as it is then."""
        check_size(record.value)
        manifest = manifest_of(record)
        for attempt in range(_TRIES):
            with suppress(Conflict):  # (others use the same quota at the same time)
                return record_of(record.kind, await self._call("POST", self._path(record.kind), manifest))
            await _give_way(attempt)
        raise Unavailable(f"{record.kind} {record.name} can't be made: the quota is changed all the time")

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
        path, conditions = self._path(kind, name), where or {}
        patch = patch_of(kind, changes, value, conditions, revision)
        for attempt in range(_TRIES):
            try:
                return record_of(kind, await self._call("PATCH", path, patch, "application/json-patch+json"))
            except Conflict:  # (others changed it at the same time, each time that the server tried)
                await _give_way(attempt)
            except _Unfit:
                found = await self._get(kind, name)
                if not is_so(record_of(kind, found), conditions, revision):
                    raise Conflict(f"{kind} {name} is not what it was expected to be") from None
                patch = patch_of(kind, changes, value, conditions, revision, found)
        raise Unavailable(f"{kind} {name} is changed by others all the time")

    async def delete(self, kind: Kind, name: str, *, revision: int | None = None, uid: str = "") -> None:
        """Delete a record; the cluster then deletes what it owns."""
        conditions = {"resourceVersion": str(revision)} if revision is not None else {}
        conditions |= {"uid": uid} if uid else {}
        body = {"propagationPolicy": "Background", **({"preconditions": conditions} if conditions else {})}
        await self._call("DELETE", self._path(kind, name), body)

    async def watch(self, scope: Scope, revision: int) -> AsyncIterator[Change]:
        """Yield every change after a revision in its order, without end."""
        pause = _AWAY_SECONDS[0]
        while True:
            async for change in self._watch_once(scope, revision):
                if change.revision > revision:
                    revision, pause = change.revision, _AWAY_SECONDS[0]
                yield change
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # (a proxy may end each at once)
            pause = min(pause * 2, _AWAY_SECONDS[1])

    async def close(self) -> None:
        """Let go of connections."""
        await self._connection.close()

    async def _watch_once(self, scope: Scope, revision: int) -> AsyncIterator[Change]:
        """Yield changes until the connection ends, which one that was had may do at any time."""
        words = {
            **selectors(scope),
            "watch": "1",
            "allowWatchBookmarks": "1",
            "resourceVersion": str(revision),
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        timeout = aiohttp.ClientTimeout(sock_connect=_ANSWER_SECONDS, sock_read=_QUIET_SECONDS)
        path = f"{self._path(scope.kind)}?{urlencode(words)}"
        response = await self._request("GET", path, None, "application/json", timeout)
        try:
            yield Change(revision)
            async for line in _lines(response.content):
                event = json.loads(line)
                found = event["object"]
                if event["type"] == "ERROR":
                    _refuse(int(found.get("code") or 500), json.dumps(found))
                seen = int(found["metadata"]["resourceVersion"])
                if event["type"] == "BOOKMARK":
                    yield Change(seen)
                else:  # (for who waits for a lock, what is none any more is gone)
                    gone = event["type"] == "DELETED" or (scope.kind is Kind.LOCK and not is_lock(found))
                    yield Change(seen, record_of(scope.kind, found), gone)
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            say(log, logging.DEBUG, "the watch of %s was cut, and is begun again: %s", scope, error)
        finally:
            response.close()

    async def _get(self, kind: Kind, name: str) -> dict[str, Any]:
        """Return an object as it is now. Refused where it is to be a lock, and is none."""
        found = await self._call("GET", self._path(kind, name))
        if kind is Kind.LOCK and not is_lock(found):
            raise Refused(
                f"Lease {name} is no lock: it has not the label {KIND_LABEL}: {Kind.LOCK}, so it is another program's, "
                "and is left alone; give the lock another name"
            )
        return found

    async def _call(
        self, method: str, path: str, body: Any = None, content: str = "application/json"
    ) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        response = await self._request(method, path, body, content, timeout)
        try:
            found: dict[str, Any] = json.loads(await response.read())
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            raise Unavailable(f"the API server's answer broke off: {error}") from error
        return found

    async def _request(
        self, method: str, path: str, body: Any, content: str, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Send a request, and return the response, whose status is good."""
        response, said = await self._send(method, path, body, content, timeout)
        if response.status >= 400:
            _refuse(response.status, said)
        return response

    async def _send(
        self, method: str, path: str, body: Any, content: str, timeout: aiohttp.ClientTimeout
    ) -> tuple[aiohttp.ClientResponse, str]:
        """Send a request; return the response, and what it says where it is a refusal."""
        headers = {"Accept": "application/json", "Content-Type": content}
        try:
            response = await self._connection.send(method, path, headers, body, timeout)
            said = (await response.read()).decode(errors="replace") if response.status >= 400 else ""
        except RuntimeError as error:
            raise unconnected(error) from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):  # (which have the proxy's password)
            raise Unreachable(
                "the API server's address is none, or that of its proxy (HTTPS_PROXY, proxy-url): write "
                "http://HOST:PORT, and percent-encode the password"
            ) from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise Unreachable(f"the API server does not answer: {error}") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            words = str(error) or type(error).__name__
            raise Unavailable(f"the API server does not answer: {words}") from error
        except ValueError as error:  # (of a token with what no header may have)
            raise Unreachable(f"the API server can't be asked: {error}") from error
        return response, said

    def _path(self, kind: Kind, name: str = "") -> str:
        group = "/api/v1" if kind is Kind.NODE else "/apis/coordination.k8s.io/v1"
        plural = "configmaps" if kind is Kind.NODE else "leases"
        return f"{group}/namespaces/{self._namespace}/{plural}" + (f"/{name}" if name else "")


class _Unfit(CoordinationError):  # noqa: N818
    """A test of a patch failed, or a place that it changes is not there."""


async def _give_way(attempt: int) -> None:
    """Wait for a moment in which those are done who have changed the same."""
    await asyncio.sleep(random.uniform(0, _AWAY_SECONDS[0] * (attempt + 1)))


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield lines of any length: `readline` refuses those that are longer than its buffer."""
    parts: list[bytes] = []
    async for piece in content.iter_any():
        *ends, rest = piece.split(b"\n")
        for end in ends:
            parts.append(end)
            yield b"".join(parts)
            parts = []
        parts.append(rest)


def _refuse(status: int, said: str) -> NoReturn:
    """Raise what an answer of the API server means."""
    try:
        message, reason = (str(json.loads(said).get(name) or "") for name in ("message", "reason"))
    except (ValueError, AttributeError):
        message, reason = said[:500], ""
    if status == 404:
        raise Missing(message)
    if status == 409:
        raise (Exists if reason == "AlreadyExists" else Conflict)(message)
    if status == 410:
        raise HistoryGone(message)
    if status == 422 and "rejected our request due to an error in our request" in message:
        raise _Unfit(message)
    if status == 401:
        remedy = (
            "its service account may be deleted" if is_in_job() else "log in again, as your kube config says"
        )
        raise Denied(f"the API server does not know who you are ({message}): {remedy}")
    if status == 403 and not _NO_MATTER_OF_RIGHTS.search(message):
        where = ", which `coordination: true` gives a ChunkJob" if is_in_job() else ""
        raise Denied(
            f"the API server does not let you: {message}; what coordinates needs get, list, watch, create, patch and "
            f"delete of leases (coordination.k8s.io) and configmaps in its namespace{where}"
        )
    if status in (400, 403, 413, 422) or "too large" in message:
        raise Refused(f"the API server does not take it: {message}")
    raise Unavailable(f"the API server can't answer: HTTP status {status}: {message}")
