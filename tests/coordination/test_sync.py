"""What programs without an event loop have: the same promises, by calls that wait."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.conftest import Until
from tests.protocol.harness import Server

from gristmill.coordination import acquiring, connect, saying
from gristmill.coordination.connecting import proxy_for
from gristmill.coordination.errors import (
    BadName,
    Closed,
    CoordinationError,
    LockLost,
    LockTimeout,
    NotHeld,
    Unavailable,
)
from gristmill.coordination.lock import Token
from gristmill.coordination.nodes import Event
from gristmill.coordination.sync import Client


@pytest.fixture
def namespace() -> str:
    return secrets.token_hex(4)


@pytest.fixture
def client(valkey: Server, namespace: str) -> Iterator[Client]:
    with connect(valkey.url, namespace=namespace) as made:
        yield made


def script(valkey: Server, namespace: str, text: str) -> subprocess.Popen[str]:
    begin = (
        f"from gristmill.coordination import connect\nc = connect({valkey.url!r}, namespace={namespace!r})\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", begin + text], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


def test_a_lock_is_had_in_turn(client: Client) -> None:
    inside: list[int] = []

    def work(n: int) -> None:
        for _ in range(3):
            with client.lock("l") as lock:
                inside.append(n)
                assert lock.held
                assert len(inside) == 1
                inside.remove(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.lock("l").acquire(0)


def test_waiting_for_a_lock_ends_in_time(client: Client) -> None:
    with client.lock("l"):
        with pytest.raises(LockTimeout), client.lock("l", timeout=0.1):
            pass
        assert not client.lock("l").acquire(blocking=False)
        assert not client.lock("l").acquire(0.1)


def test_the_time_of_a_handle_counts_where_acquire_says_none(client: Client) -> None:
    held, lock = client.lock("l"), client.lock("l", timeout=0.1)
    held.acquire()
    begin = time.monotonic()
    assert not lock.acquire()
    assert not lock.acquire(blocking=False)
    assert time.monotonic() - begin < 10
    with others(lambda: lock.acquire(math.inf)) as found:
        assert not client.lock("l").acquire(0.5)
        assert found == []
        held.release()
    assert found == [True]


def test_a_wrong_depth_is_told_with_those_that_there_are(client: Client) -> None:
    with pytest.raises(ValueError, match="'all' is none: give 'node', 'children' or 'subtree'"):
        client.tree("t").watch(depth="all")


def test_a_wrong_time_is_told(client: Client) -> None:
    """`acquire(True)` is how a lock of threads is waited for."""
    for wrong in (True, False):
        with pytest.raises(TypeError, match=rf"write acquire\(blocking={wrong}\)"):
            client.lock("l").acquire(wrong)
        with pytest.raises(TypeError, match="it is a number of seconds"):
            client.lock("l", timeout=wrong)
    with pytest.raises(TypeError, match=r"'5' can't be waited for, it is a number of seconds: give float\("):
        client.lock("l").acquire("5")  # type: ignore[arg-type]
    for seconds in (-1, math.nan):
        with pytest.raises(ValueError, match="it is 0 or more"):
            client.lock("l").acquire(seconds)
        with pytest.raises(ValueError, match="it is 0 or more"):
            client.lock("l", timeout=seconds)


def test_a_loss_is_seen_while_one_waits_for_it(client: Client, valkey: Server) -> None:
    lock = client.lock("l", seconds=2)
    lock.acquire()
    assert not lock.wait_lost(0.1)
    with valkey.connect() as raw:
        for key in raw.keys("gristmill:coordination:*:lock"):
            raw.hdel(key, "l")
    assert lock.wait_lost(5)
    with pytest.raises(LockLost):
        lock.release()


def test_what_a_program_holds_is_given_up_when_it_ends(
    client: Client, valkey: Server, namespace: str
) -> None:
    text = (
        "lock = c.lock('l'); lock.acquire(); c.tree('t').create('/a', ephemeral=True); print('has'); input()"
    )
    program = script(valkey, namespace, f"{text}\nraise SystemExit(3)")
    assert program.stdout is not None
    assert program.stdout.readline() == "has\n"
    assert not client.lock("l").acquire(0)
    program.communicate("\n", timeout=20)
    assert program.returncode == 3
    assert client.lock("l").acquire(0)
    assert client.tree("t").get("/a") is None


def test_ctrl_c_while_one_waits_leaves_no_trace(client: Client, valkey: Server, namespace: str) -> None:
    with client.lock("l"):
        program = script(valkey, namespace, "print('waits', flush=True)\nc.lock('l').acquire()")
        assert program.stdout is not None
        assert program.stdout.readline() == "waits\n"
        with valkey.connect() as raw:
            key = f"gristmill:coordination:{{{namespace}}}:lock"
            while b"waiter-" not in (raw.hget(key, "l") or b""):
                time.sleep(0.01)
            program.send_signal(signal.SIGINT)
            program.communicate(timeout=20)
            assert program.returncode == -signal.SIGINT
            assert b"waiter-" not in (raw.hget(key, "l") or b"")


@pytest.mark.parametrize("how", [{"blocking": False}, {"timeout": 0.2}])
def test_a_frozen_server_is_not_waited_for_longer_than_was_said(frozen: Server, how: dict[str, Any]) -> None:
    with connect(frozen.url) as client:
        begin = time.monotonic()
        with pytest.raises(Unavailable, match="has not answered in time"):
            client.lock("l").acquire(**how)
        assert time.monotonic() - begin < 9


def test_what_a_frozen_server_was_asked_for_in_vain_ends_by_itself(
    own_valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acquiring, "_LATE_SECONDS", 0.5)
    with connect(own_valkey.url) as client:
        client.lock("other").acquire()  # (so there is a connection)
        own_valkey.send(signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable, match="has not answered in time"):
                client.lock("l", seconds=1).acquire(blocking=False)
        finally:
            own_valkey.send(signal.SIGCONT)
        assert client.lock("l", seconds=1).acquire(30)


def test_who_waits_for_a_server_that_is_away_says_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    tries: list[float] = []

    def pause(least: float, most: float) -> float:
        tries.append(least)
        return 0.01

    monkeypatch.setattr(acquiring.random, "uniform", pause)
    with connect("redis://127.0.0.1:1") as client:
        waiting = threading.Thread(target=try_to_take, args=(client,))
        waiting.start()
        until(lambda: len(tries) > 3)
    waiting.join()
    saying._speaker.finish()
    (line,) = caplog.messages
    assert line.startswith("lock l can't be asked for now: the server does not answer: ")
    assert line.endswith("; it is tried again")


def try_to_take(client: Client) -> None:
    """Wait for a lock until the client is closed."""
    with pytest.raises(Closed):
        client.lock("l").acquire()


def test_a_holder_that_is_killed_is_followed_after_its_time(
    client: Client, valkey: Server, namespace: str
) -> None:
    program = script(valkey, namespace, "c.lock('l', seconds=2).acquire(); print('has', flush=True); input()")
    assert program.stdout is not None
    assert program.stdout.readline() == "has\n"
    program.kill()
    begin = time.monotonic()
    assert client.lock("l", seconds=2).acquire(30)
    assert time.monotonic() - begin < 30
    program.communicate()


def test_a_stopped_holder_knows_that_its_lock_is_lost_when_it_goes_on(
    client: Client, valkey: Server, namespace: str
) -> None:
    text = (
        "lock = c.lock('l', seconds=1); lock.acquire(); print(lock.token.number, flush=True); input()\n"
        "from gristmill.coordination.errors import LockLost\n"
        "print(lock.held)\n"
        "try: lock.token\n"
        "except LockLost: print('lost')\n"
    )
    program = script(valkey, namespace, text)
    assert program.stdout is not None
    first = int(program.stdout.readline())
    os.kill(program.pid, signal.SIGSTOP)
    lock = client.lock("l", seconds=1)
    assert lock.acquire(30)
    assert lock.token.number > first
    os.kill(program.pid, signal.SIGCONT)
    out, _ = program.communicate("\n", timeout=20)
    assert out == "False\nlost\n"
    assert lock.held


def test_one_leads_and_is_told_when_it_does_not(client: Client, valkey: Server) -> None:
    election = client.election("e", seconds=2)
    told: list[str] = []
    over = threading.Event()

    def lead(token: Token) -> None:
        told.append(f"elected {token.lock}")
        assert election.leads
        with valkey.connect() as raw:
            for key in raw.keys("gristmill:coordination:*:lock"):
                raw.hdel(key, "e")
        assert over.wait(10)

    def lost() -> None:
        told.append("lost")
        over.set()

    with pytest.raises(LockLost):
        election.run(lead, lost)
    assert told == ["elected e", "lost"]
    election.run(lambda token: told.append("again"))
    assert told[2:] == ["again"]
    assert not election.leads


def test_a_tree_is_read_written_and_watched(client: Client, valkey: Server, namespace: str) -> None:
    tree = client.tree("t")
    heard: list[str] = []
    done = threading.Event()

    def hear(event: object) -> None:
        assert isinstance(event, Event)
        heard.append(f"{event.kind} {event.path} {event.node.text}")
        if event.path == "/end":
            done.set()

    watch = tree.watch(callback=hear)
    with connect(valkey.url, namespace=namespace) as other:
        theirs = other.tree("t")
        node = theirs.set("/a", "1")
        theirs.set("/a", "2", version=node.version)
        theirs.delete("/a")
        theirs.create("/end", "x")
        assert done.wait(10)
        assert heard == ["created /a 1", "changed /a 2", "deleted /a 2", "created /end x"]
        with theirs.watch() as iterator:
            assert next(iterator).path == "/end"  # type: ignore[union-attr]
        assert list(iterator) == []
    watch.close()
    assert tree.children() == ["end"]
    assert [one.path for one in tree.walk()] == ["/end"]
    assert tree.ensure("/q/x", 1).json == 1
    assert tree.create("/q/n-", sequential=True).path == "/q/n-0000000001"


def test_a_closed_client_says_so(valkey: Server, namespace: str) -> None:
    client = connect(valkey.url, namespace=namespace)
    lock, tree = client.lock("l"), client.tree("t")
    client.close()
    client.close()
    for call in (lambda: client.lock("m"), lock.acquire, lambda: tree.set("/a", 1), lambda: client.tree("u")):
        with pytest.raises(Closed, match="connect again"):
            call()


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a..b", "a" * 254, "ä", "a/b"])
def test_a_wrong_name_is_told(client: Client, name: str) -> None:
    with pytest.raises(BadName, match=r"^lock .*: a name has small letters"):
        client.lock(name)
    with pytest.raises(BadName, match=r"^tree .*: a name has small letters"):
        client.tree(name)


def test_wrong_seconds_are_told(client: Client) -> None:
    for seconds in (0, -1, 1.5, "2", True):
        with pytest.raises(CoordinationError, match="whole number of seconds"):
            client.lock("l", seconds=seconds)  # type: ignore[arg-type]
        with pytest.raises(CoordinationError, match="whole number of seconds"):
            client.tree("t", seconds=seconds)  # type: ignore[arg-type]


def test_no_server_is_told(tmp_path: object) -> None:
    with (
        connect(f"unix://{tmp_path}/none") as client,
        pytest.raises(CoordinationError, match="does not answer"),
    ):
        client.tree("t")


def test_the_proxy_of_the_environment_leads_to_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "10.96.0.1,.cluster.local")
    assert proxy_for("https://api.example:6443") == "http://proxy:3128"
    assert proxy_for("https://10.96.0.1:443") is None
    assert proxy_for("https://kubernetes.default.svc.cluster.local") is None


@contextmanager
def others(*calls: Callable[[], object]) -> Iterator[list[object]]:
    """Make calls in threads of their own, which have to end; give what they returned or raised."""
    found: list[object] = []

    def work(call: Callable[[], object]) -> None:
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=work, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    yield found
    for thread in threads:
        thread.join(10)
    assert len(found) == len(calls)


def waits(valkey: Server, namespace: str, lock: str) -> bool:
    with valkey.connect() as raw:
        key = f"gristmill:coordination:{{{namespace}}}:lock"
        return b"waiter-" in (raw.hget(key, lock) or b"")


def test_who_waits_for_a_lock_when_the_client_is_closed_is_told(
    client: Client, valkey: Server, namespace: str
) -> None:
    with client.lock("l"):
        closing = connect(valkey.url, namespace=namespace)
        with others(closing.lock("l").acquire) as found:
            while not waits(valkey, namespace, "l"):
                time.sleep(0.01)
            closing.close()
        assert [type(one) for one in found] == [Closed]
        assert not waits(valkey, namespace, "l")


def test_who_waits_for_a_loss_goes_on_when_the_hold_ends(valkey: Server, namespace: str) -> None:
    client = connect(valkey.url, namespace=namespace)
    lock, other = client.lock("a"), client.lock("b")
    with pytest.raises(NotHeld, match="acquire it first"):
        lock.wait_lost()
    lock.acquire()
    other.acquire()
    with others(lock.wait_lost) as found:
        assert not lock.wait_lost(0.1)
        lock.release()
    assert found == [False]
    with others(other.wait_lost) as found:
        assert not other.wait_lost(0.1)
        client.close()
    assert found == [False]


def test_what_still_runs_when_the_client_is_closed_is_told(valkey: Server, namespace: str) -> None:
    client = connect(valkey.url, namespace=namespace)
    begun = threading.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    with others(lambda: client._runner.wait(work())) as found:
        assert begun.wait(10)
        client.close()
    assert [type(one) for one in found] == [Closed]


def test_a_client_that_is_closed_leaves_nothing_for_the_end_of_the_program(
    valkey: Server, namespace: str
) -> None:
    client, other = (connect(valkey.url, namespace=namespace) for _ in range(2))
    kept = [weakref.ref(one) for one in (client, other)]
    client.close()
    del client
    gc.collect()
    assert [one() is None for one in kept] == [True, False]
    other.close()


def test_what_is_held_at_the_end_of_a_program_is_given_up_though_nobody_has_kept_the_client(
    valkey: Server, namespace: str
) -> None:
    program = (
        "import sys; from gristmill.coordination import connect\n"
        "lock = connect(sys.argv[1], namespace=sys.argv[2]).lock('l'); lock.acquire()\n"
        "tree = connect(sys.argv[1], namespace=sys.argv[2]).tree('t'); tree.create('/me', ephemeral=True)\n"
        "import gc; gc.collect(); print(lock.held)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, valkey.url, namespace],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (told.stdout, told.stderr, told.returncode) == ("True\n", "", 0)
    with valkey.connect() as raw:
        kinds = ("lock", "session", "node")
        left = {kind: raw.hlen(f"gristmill:coordination:{{{namespace}}}:{kind}") for kind in kinds}
    assert left == dict.fromkeys(kinds, 0)


def test_what_a_leader_raises_is_not_hidden_by_the_loss_of_the_lead(client: Client, valkey: Server) -> None:
    election = client.election("e", seconds=1)

    def lead(token: Token) -> None:
        with valkey.connect() as raw:
            for key in raw.keys("gristmill:coordination:*:lock"):
                raw.hdel(key, "e")
        assert election._lock.wait_lost(10)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        election.run(lead)


def test_a_callback_that_fails_is_called_on(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    tree = client.tree("t")
    heard: list[str] = []
    done = threading.Event()

    def hear(event: object) -> None:
        assert isinstance(event, Event)
        heard.append(event.path)
        if event.path == "/b":
            done.set()
        raise KeyError(event.path)

    with tree.watch(callback=hear):
        tree.set("/a", "1")
        tree.set("/b", "1")
        assert done.wait(10)
    assert heard == ["/a", "/b"]
    assert "the callback of a watch of / failed" in caplog.text
