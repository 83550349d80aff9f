"""A socket proxy between workers and server that misbehaves: it delays, cuts in the middle of a reply, swallows.

    python -m tests.chaos.proxy LISTEN SERVER SEED

Both are paths of unix sockets. Each piece that the server sends meets a fault with a small probability.
"""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import suppress

_PIECE = 1 << 16


class Proxy:
    """Passes bytes on, most of the time."""

    def __init__(self, server: str, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a worker's connection until one side ends it, or a fault does."""
        try:
            from_server, to_server = await asyncio.open_unix_connection(self._server)
        except OSError:
            writer.close()
            return
        asks = asyncio.create_task(self._requests(reader, to_server))
        answers = asyncio.create_task(self._replies(from_server, writer))
        await asyncio.wait([asks, answers], return_when=asyncio.FIRST_COMPLETED)
        for task in (asks, answers):
            task.cancel()
        for end in (writer, to_server):
            end.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_PIECE):
                if self._random.random() < 0.005:
                    data = data[: self._random.randrange(len(data))]  # half a request, then the end
                    writer.write(data)
                    await writer.drain()
                    return
                writer.write(data)
                await writer.drain()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_PIECE):
                fault = self._random.random()
                if fault < 0.02:
                    return  # the call was done, its reply is lost
                if fault < 0.03:
                    writer.write(data[: self._random.randrange(len(data))])
                    await writer.drain()
                    return
                if fault < 0.035:
                    continue  # swallowed: the connection stays, and silent
                if fault < 0.08:
                    await asyncio.sleep(self._random.choice([0.01, 0.1, 0.3]))
                writer.write(data)
                await writer.drain()


async def main() -> None:
    """Serve for ever."""
    listen, server, seed = sys.argv[1:]
    proxy = Proxy(server, int(seed))
    async with await asyncio.start_unix_server(proxy.connect, listen) as serving:
        await serving.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
