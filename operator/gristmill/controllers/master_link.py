"""Asks SeaweedFS's masters and servers, by HTTP, what they know. They are asked no secrets, and told none."""

from __future__ import annotations

import json
import logging
from typing import Any

import aiohttp

log = logging.getLogger(__name__)

#: seconds that an answer may take, and its bytes (some ten thousand volumes)
_TIMEOUT = aiohttp.ClientTimeout(total=3)
_MOST_BYTES = 64 << 20


class MasterLink:
    """A pool of connections."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, address: str, port: int, path: str) -> Any:
        """Return what a pod answers; None where it does not, or says what is no JSON."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        host = f"[{address}]" if ":" in address else address
        try:
            async with self._session.get(f"http://{host}:{port}{path}", allow_redirects=False) as answer:
                if answer.status != 200:
                    return None
                read = bytearray()
                async for piece in answer.content.iter_chunked(1 << 20):
                    read += piece
                    if len(read) > _MOST_BYTES:
                        return None
                return json.loads(read)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            log.debug("%s:%s%s: %s", address, port, path, error)
            return None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
