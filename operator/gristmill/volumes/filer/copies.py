"""The copies of a chunk, each read from the server that has it: a filer would give only one, and not say whose.

Every server is asked for every chunk: servers that do not have it say so. One that has the chunk's volume should have
the chunk, too. One that does not answer has no copy now, and is remembered.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product

from gristmill.volumes.filer.calls import Calls, Dial
from gristmill.volumes.filer.entries import Chunk

#: returns the addresses (http://HOST:PORT) of the servers that there are
Servers = Callable[[], Sequence[str]]

#: seconds that a server is asked again while it does not answer
_PATIENCE_SECONDS = 2.0
#: seconds that one is not asked again which did not answer
_MISSED_SECONDS = 20.0
#: seconds that it is remembered which servers there are, and which volumes one has
_LISTED_SECONDS = 20.0


class Copies:
    """Reads the copies of chunks."""

    def __init__(self, key: str, servers: Servers, dial: Dial | None = None) -> None:
        self._key = key
        self._servers = servers
        self._dial = dial
        self._calls: dict[str, Calls] = {}
        #: servers that did not answer, and when that was
        self._missed: dict[str, float] = {}
        #: servers, when they told of their volumes, and these
        self._listed: dict[str, tuple[float, set[int]]] = {}
        #: when the addresses of the servers were told, and these
        self._known: tuple[float, Sequence[str]] = 0.0, ()
        #: servers that did not answer since these were taken
        self.unreached: set[str] = set()

    def read(self, chunks: Sequence[Chunk], start: int, stop: int, *, lost: bool = False) -> Iterator[bytes]:
        """Yield bytes of a file from each copy; where they are of several chunks, from all copies of these together.

        `lost`: b"" for each copy that should be on a server and is not, where another is.
        """
        wanted = [
            (chunk, max(0, start - chunk.offset), min(chunk.size, stop - chunk.offset))
            for chunk in chunks
            if chunk.offset < stop and chunk.offset + chunk.size > start
        ]
        if len(wanted) == 1:
            yield from self._read(*wanted[0], lost=lost)
        else:
            pieces = [list(self._read(*one, lost=lost)) for one in wanted]
            yield from (b"".join(copy) for copy in product(*pieces))

    def take_unreached(self) -> list[str]:
        """Return the servers that did not answer since this was called last. Then the addresses are asked for anew."""
        found = sorted(self.unreached)
        self.unreached.clear()
        self._known = 0.0, ()
        return found

    def _read(self, chunk: Chunk, start: int, stop: int, *, lost: bool) -> Iterator[bytes]:
        found = without = 0
        servers = self._addresses()
        if not servers:
            self.unreached.add("all servers (no address of one is known)")
        for server in servers:
            if time.monotonic() - self._missed.get(server, -_MISSED_SECONDS) < _MISSED_SECONDS:
                self.unreached.add(server)
                continue
            data = self._ask(server, chunk.fid, start, stop)
            if data is not None:
                found += 1
                yield data
            elif lost and int(chunk.fid.partition(",")[0]) in self._volumes(server):
                without += 1
        if found:
            yield from [b""] * without

    def _addresses(self) -> Sequence[str]:
        """Return the addresses of the servers; where none was known they are asked for again."""
        since, known = self._known
        if not known or time.monotonic() - since >= _LISTED_SECONDS:
            known = self._servers()
            self._known = time.monotonic(), known
        return known

    def _volumes(self, server: str) -> set[int]:
        """Return the ids of the volumes that a server has; none where it does not answer."""
        since, volumes = self._listed.get(server, (-_LISTED_SECONDS, set()))
        if time.monotonic() - since >= _LISTED_SECONDS and server not in self._missed:
            try:
                told = self._calls[server].call("GET", "/status", expected=(200,), most_failures=2).told()
            except OSError:
                self._miss(server)
                return set()
            volumes = {volume["Id"] for volume in told["Volumes"] or ()}
            self._listed[server] = time.monotonic(), volumes
        return volumes

    def _miss(self, server: str) -> None:
        self._missed[server] = time.monotonic()
        self._known = 0.0, ()  # (it may be there at another address)
        self.unreached.add(server)

    def _ask(self, server: str, fid: str, start: int, stop: int) -> bytes | None:
        """Return bytes of a chunk from one server; None where it has no copy, b"" where it can't read its own."""
        if server not in self._calls:
            self._calls[server] = Calls(server, self._key, self._dial, _PATIENCE_SECONDS)
        try:
            answer = self._calls[server].call(
                "GET",
                f"/{fid}",
                expected=(200, 206, 404),
                headers={"Range": f"bytes={start}-{stop - 1}"},
                fid=fid,
                most_failures=2,
            )
        except OSError as error:
            if error.errno == errno.EIO:
                return b""
            self._miss(server)
            return None
        if answer.status == 404:
            return None
        return answer.body if answer.status == 206 else answer.body[start:stop]


def resolved(host: str, port: int) -> list[str]:
    """Return the addresses of all servers that a name stands for; none where it is not known (now)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return []
    hosts = sorted({str(address[0]) for *_, address in found})
    return [f"http://[{one}]:{port}" if ":" in one else f"http://{one}:{port}" for one in hosts]
