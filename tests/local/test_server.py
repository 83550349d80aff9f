"""The embedded server and the locks of a state folder, without a run around them."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Until

from gristmill.errors import UsageError
from gristmill.local import server as servers
from gristmill.local.processes import is_in_group
from gristmill.local.server import Server, ServerError, end_orphan, find_server, socket_path
from gristmill.local.state import Lock, State, find
from gristmill.protocol.client import Queue, connect, word_of


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server.start(tmp_path / "queue", durable=False)
    yield started
    started.kill()


def test_server_is_found_by_others_when_it_is_published(server: Server, tmp_path: Path) -> None:
    Queue(connect(server.draft_url), "job").load_library()
    assert not socket_path(tmp_path / "queue").exists()
    server.publish()
    assert not Queue(connect(server.url), "job").exists()
    assert server.alive()


def test_server_keeps_what_was_written(server: Server, tmp_path: Path) -> None:
    queue = Queue(connect(server.draft_url), "job")
    queue.load_library()
    queue.create({"epoch": 1, "name": "job", "sink": "queue", "spec": b"{}"})
    server.stop()
    again = Server.start(tmp_path / "queue", durable=True)
    try:
        assert Queue(connect(again.draft_url), "job").exists()
    finally:
        again.kill()


def test_orphan_is_ended(server: Server, tmp_path: Path) -> None:
    Queue(connect(server.draft_url), "job").load_library()
    end_orphan(tmp_path / "queue")
    assert not server.alive()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_server_whose_keeper_is_killed_while_it_begins_does_not_begin(tmp_path: Path, until: Until) -> None:
    script = f"""if True:
        import os, pathlib
        from gristmill.local import server
        end_with_parent = server._end_with_parent
        def late(parent):
            os.kill(parent, 9)
            while os.getppid() == parent:
                pass
            end_with_parent(parent)
        server._end_with_parent = late
        server.Server.start(pathlib.Path({str(tmp_path / "queue")!r}), durable=False)
    """
    keeper = subprocess.Popen([sys.executable, "-c", script], process_group=0)
    assert keeper.wait(60) == -9
    until(lambda: not is_in_group(keeper.pid, ""))
    assert not list((tmp_path / "queue").glob("*.new"))


def test_process_that_got_the_orphans_number_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (tmp_path / "server.pid").write_text(str(other.pid))
    end_orphan(tmp_path)
    assert other.poll() is None
    other.communicate(b"\n")


def test_server_without_its_folder_is_not_alive(server: Server, tmp_path: Path) -> None:
    Queue(connect(server.draft_url), "job").load_library()
    server.publish()
    (tmp_path / "queue").rename(tmp_path / "moved")
    assert not server.alive()


def test_server_that_cant_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "appendonlydir").write_text("in the way")
    started = Server.start(tmp_path / "queue", durable=False)
    started._process.wait(30)
    with pytest.raises(ServerError, match=r"ended with code 1: .*appendonlydir"):
        started.check_started()


def test_system_server_is_used_without_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError, match="there is no Valkey"):
        find_server()
    _pretend(tmp_path / "redis-server", "Redis server v=6.2.1 sha=0")
    with pytest.raises(ServerError, match="there is no Valkey"):
        find_server()
    _pretend(tmp_path / "redis-server", "Redis server v=7.4.0 sha=0")
    assert find_server() == str(tmp_path / "redis-server")
    _pretend(tmp_path / "valkey-server", "Valkey server v=8.0.1 sha=0")
    assert find_server() == str(tmp_path / "valkey-server")


def test_what_a_frozen_server_says_is_not_waited_for(tmp_path: Path) -> None:
    begin = time.monotonic()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        assert word_of(f"unix://{tmp_path / 's'}", "uid", 0.1) is None
    assert word_of(f"unix://{tmp_path / 'none'}", "uid", 0.1) is None
    assert time.monotonic() - begin < 30


def test_lock_is_held_by_one_and_lost_by_the_dead(tmp_path: Path) -> None:
    text = (
        "import sys, pathlib; from gristmill.local.state import Lock\n"
        f"lock = Lock(pathlib.Path({str(tmp_path / 'lock')!r})); print(lock.take(), flush=True); input()"
    )
    holder = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"0\n"
    lock = Lock(tmp_path / "lock")
    assert lock.holder() == lock.take() == holder.pid
    holder.kill()
    holder.communicate()
    assert lock.holder() == 0
    assert lock.take() == 0
    assert (tmp_path / "lock").read_text().split()[0] == str(os.getpid())
    lock.release()


def test_lock_that_is_only_asked_about_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, asked = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    flock = fcntl.flock
    taken: list[int] = []

    def while_asked(handle: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX and not taken:
            with (tmp_path / "lock").open() as other:
                flock(other, fcntl.LOCK_SH)
                taken.append(other.fileno())
                flock(handle, operation)
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", while_asked)
    assert lock.take() == 0
    assert taken
    assert asked.take() == os.getpid()
    lock.release()


def test_state_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="absent holds no run"):
        find(None, Path("absent"))
    (tmp_path / "job.json").write_text("{")
    with pytest.raises(UsageError, match=r"job.json can't be read"):
        State(tmp_path).job()


def _pretend(path: Path, version: str) -> None:
    path.write_text(f"#!/bin/sh\necho '{version}'\n")
    path.chmod(0o755)
