"""What a program that ends without `close` can still give up, and what it says where it can't."""

from __future__ import annotations

import _thread
import asyncio
import gc
import secrets
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from tests.protocol.harness import Server

from gristmill.coordination import connect
from gristmill.coordination.errors import Closed, Unavailable
from gristmill.coordination.kube import KubeStore
from gristmill.coordination.lock import Token
from gristmill.coordination.port import Kind
from gristmill.coordination.valkey import ValkeyStore

PROGRAM = """
import sys, redis; from gristmill.coordination import connect
lock = connect(sys.argv[1], namespace=sys.argv[2]).lock("l", seconds=60); lock.acquire()
redis.Redis.from_url(sys.argv[1]).execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes")
"""


def test_a_lock_for_which_a_name_has_to_be_looked_up_at_the_end_is_told_in_a_line(own_valkey: Server) -> None:
    """Threads, which look names up, can't be had any more then."""
    with own_valkey.connect() as raw:
        raw.config_set("bind", "127.0.0.1")
        raw.config_set("port", port := 20_000 + secrets.randbelow(10_000))
    begin = time.monotonic()
    words = [sys.executable, "-c", PROGRAM, f"redis://localhost:{port}", "n"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "lock l can't be given up, it will end by itself: no connection can be made any more"
    )
    assert time.monotonic() - begin < 15


def test_what_can_t_be_asked_of_the_api_server_any_more_is_told() -> None:
    class Ended:
        async def send(self, *_: Any) -> Any:
            raise RuntimeError("cannot schedule new futures after shutdown")

    with pytest.raises(Closed, match=r"as where a program ends .* use the client in a `with`"):
        asyncio.run(KubeStore(Ended(), "n").get(Kind.LOCK, "l"))  # type: ignore[arg-type]


def test_a_thread_that_is_not_to_be_had_now_is_no_end() -> None:
    """As where a pod may have no more."""

    class Full:
        async def send(self, *_: Any) -> Any:
            raise RuntimeError("can't start new thread")

    with pytest.raises(Unavailable, match="no connection can be made now: can't start new thread"):
        asyncio.run(KubeStore(Full(), "n").get(Kind.LOCK, "l"))  # type: ignore[arg-type]


def test_a_thread_that_is_not_to_be_had_now_is_none_of_a_valkey_s_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def call() -> None:
        store = ValkeyStore("redis://localhost:1", "n")
        try:
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", full)
                await store.get(Kind.LOCK, "l")
        finally:
            await store.close()

    with pytest.raises(Unavailable, match="no connection can be made now: "):
        asyncio.run(call())


def test_a_thread_that_is_not_to_be_had_now_leaves_nothing_behind(
    valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one is needed to connect, to lead, or for a callback."""

    def full(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    told, namespace = "^no thread can be had now: can't start new thread", secrets.token_hex(4)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        with pytest.raises(Unavailable, match=told):
            connect(valkey.url, namespace=namespace)
    gc.collect()  # (a loop that is not closed warns then)
    with connect(valkey.url, namespace=namespace) as client:
        election, tree, led = client.election("e"), client.tree("t"), list[Token]()
        with monkeypatch.context() as patch:
            patch.setattr(_thread, "start_new_thread", full)
            with pytest.raises(Unavailable, match=told):
                election.run(led.append)
            assert not election.leads
            patch.setattr(threading.Thread, "start", full)
            with pytest.raises(Unavailable, match=told):
                tree.watch(callback=print)
            assert tree._tree._watches == []
        assert led == []
        election.run(led.append)
        assert len(led) == 1
