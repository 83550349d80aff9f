"""The pod that hands out a job's results: to a port-forward, which begins in the pod itself, and to nobody else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from tests.unit.sink_builders import lines, plan_of, write

from gristmill.sinks import open_sink, save_plan
from gristmill.worker import reading


@pytest.fixture
def output(tmp_path: Path) -> str:
    """An output of three results."""
    url = str(tmp_path / "out")
    plan = plan_of(1)
    save_plan(url, plan)
    sink = open_sink(url, "jsonl", "txt", plan)
    write(sink, 0, [(1, lines(1, 2, 3), 3)], "a")
    sink.finish(0)
    return url


@pytest.fixture
def port(output: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port at which a reader hands it out."""
    begun: Queue[int] = Queue()
    create = socket.create_server

    def listen(*where: Any) -> socket.socket:
        server = create(*where)
        begun.put(server.getsockname()[1])
        return server

    monkeypatch.setattr(socket, "create_server", listen)
    monkeypatch.setattr(reading, "PORT", 0)
    reader = threading.Thread(target=reading.main, args=(output,), daemon=True)
    reader.start()
    yield begun.get(timeout=10)
    reader.join(10)
    assert not reader.is_alive()


def test_it_is_reached_from_its_own_pod_only(port: int) -> None:
    with pytest.raises(OSError, match=r"refused|timed out"):
        socket.create_connection(("127.0.0.2", port), timeout=2).close()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        told = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert told == b"1\n2\n3\n" + reading.END
