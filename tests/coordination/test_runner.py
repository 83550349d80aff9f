"""What interrupts a program that waits for the loop of its client, or copies it: signals, and a fork."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest
from tests.protocol.harness import Server

from gristmill.coordination import connect, leading, saying, sync
from gristmill.coordination.errors import Closed, LockLost, NotHeld
from gristmill.coordination.nodes import Event
from gristmill.coordination.sync import Client


@pytest.fixture
def namespace() -> str:
    return secrets.token_hex(4)


@pytest.fixture
def client(valkey: Server, namespace: str) -> Iterator[Client]:
    with connect(valkey.url, namespace=namespace) as made:
        yield made


class Late(Exception):
    """What a signal's handler raises."""


def interrupt(monkeypatch: pytest.MonkeyPatch, client: Client, *, after: bool) -> None:
    """Have the client's next wait interrupted: before its loop is told what to do, or after that is done."""
    runner = client._runner
    real = runner._do

    def do(*words: Any) -> None:
        monkeypatch.setattr(runner, "_do", real)
        if after:
            real(*words)
        raise Late

    monkeypatch.setattr(runner, "_do", do)


def test_a_client_of_another_process_says_so(client: Client) -> None:
    """Also where it would answer from memory, which nobody keeps up to date there."""
    lock, tree = client.lock("l"), client.tree("t")
    lock.acquire()
    tree.set("/a", "1")
    watch = tree.watch()
    calls: list[Callable[[], object]] = [
        client.lock("m").acquire,
        lambda: lock.token,
        lambda: tree.get("/a"),
        lambda: tree.stale_since,
        lambda: tree.session_lost,
        lambda: next(watch),
        lambda: list(watch),
    ]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for call in calls:
                with suppress(Closed):
                    os.write(writer, f"{call()!r} was returned\n".encode())
            os.write(writer, f"held: {lock.held}\n".encode())
            watch.close()
            client.close()
            call()
        except Closed as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1000).decode() == (
        "held: False\nthe client was made in another process: connect again in this one"
    )
    assert lock.held
    assert getattr(next(watch), "path", "") == "/a"
    os.close(reader)
    os.close(writer)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # (it may come in a destructor)
def test_who_is_interrupted_as_the_lock_is_had_does_not_hold_it(client: Client) -> None:
    """By an exception of a signal's handler, wherever in the wait that comes: Ctrl-C is one.

    (One that comes between the end of a call and the use of its result is a program's own, with any lock.)
    """

    def ring(*_: object) -> None:
        raise Late

    chance, interrupted = random.Random(3), 0
    former = signal.signal(signal.SIGALRM, ring)
    try:
        for number in range(400):
            lock = client.lock(f"l{number}")
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.003))
                held = lock.acquire()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Late as error:
                if "wait" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]:
                    interrupted += 1
                    assert not lock.held, f"after {interrupted} interruptions"
            else:
                assert held
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    assert interrupted > 10


def test_an_event_that_comes_as_its_wait_is_interrupted_is_told_next(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = client.tree("t")
    watch = tree.watch()
    for number in range(3):
        tree.set("/a", str(number))
    interrupt(monkeypatch, client, after=True)
    with pytest.raises(Late):
        next(watch)
    heard = [next(watch) for _ in range(3)]
    assert [event.node.text for event in heard if isinstance(event, Event)] == ["0", "1", "2"]


def test_a_lock_whose_release_is_interrupted_is_given_up(
    client: Client, valkey: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where that comes before its loop is told."""
    with connect(valkey.url, namespace=namespace) as other:
        for after in (False, True):
            lock = client.lock("l")
            with pytest.raises(Late), lock:
                interrupt(monkeypatch, client, after=after)
            assert not lock.held
            with other.lock("l", timeout=0):
                pass
            lock = client.lock("m")
            lock.acquire()
            interrupt(monkeypatch, client, after=after)
            with pytest.raises(Late):
                lock.release()
            with other.lock("m", timeout=0):
                pass


@pytest.mark.parametrize("before", [False, True])
def test_what_is_held_is_given_up_though_the_client_s_end_is_interrupted(
    valkey: Server, namespace: str, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """Before its loop is told, or before the server is."""
    client = connect(valkey.url, namespace=namespace)
    client.lock("l").acquire()
    real = client._client._close

    async def close() -> None:
        await asyncio.sleep(0.3)
        await real()

    def ring(*_: object) -> None:
        raise Late

    former = signal.signal(signal.SIGALRM, ring)
    try:
        if before:
            interrupt(monkeypatch, client, after=False)
        else:
            monkeypatch.setattr(client._client, "_close", close)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Late), client:
            pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    with valkey.connect() as raw:
        assert not raw.hgetall(f"gristmill:coordination:{{{namespace}}}:lock")


@pytest.mark.parametrize("what", [(sync.Watcher, "__init__"), (sync._thread, "start_new_thread")])
def test_a_lead_that_is_interrupted_before_its_work_has_begun_is_given_up(
    client: Client, monkeypatch: pytest.MonkeyPatch, what: tuple[object, str]
) -> None:
    """As what it needs is made, or its thread is started."""
    election, begun = client.election("e"), []

    def late(*_: object, **__: object) -> None:
        raise Late

    with monkeypatch.context() as patch:
        patch.setattr(*what, late)
        with pytest.raises(Late):
            election.run(begun.append)
    assert not election.leads
    interrupt(monkeypatch, client, after=True)
    with pytest.raises(Late):
        election.run(begun.append)
    assert not election.leads
    assert begun == []
    election.run(begun.append)
    assert len(begun) == 1


def test_what_interrupts_a_lead_as_its_watcher_is_started_or_ended_is_raised(client: Client) -> None:
    """At each line of those that this takes, also of Python's own."""
    election, left, here = client.election("e"), 0, threading.get_ident()
    lost: list[int] = []

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        its = frame.f_code.co_filename in (threading.__file__, sync.__file__, leading.__file__)
        names = ("__init__", "start", "wait", "end", "join", "_takes_turn", "_wait_for_tstate_lock")
        if not its or frame.f_code.co_name not in names or threading.get_ident() != here:
            return None
        left -= event == "line"
        if left == 0 and event == "line":
            raise Late
        return trace

    for number in itertools.count(1):
        left, former = number, sys.gettrace()
        try:
            sys.settrace(trace)
            election.run(lambda token: None, lambda: lost.append(1))
        except Late:
            pass
        finally:
            sys.settrace(former)
        assert not election.leads
        if left > 0:
            break
    assert number > 5
    time.sleep(0.5)
    assert lost == []


def test_a_lead_that_is_given_up_as_the_end_of_its_watcher_is_interrupted_is_not_lost(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    election, looks, look = client.election("e"), threading.Event(), leading.Watcher._look
    lost, ended = list[int](), threading.Event()

    def seen(watcher: leading.Watcher) -> None:
        looks.set()
        look(watcher)
        ended.set()

    def late(_: leading.Watcher) -> None:
        raise Late

    monkeypatch.setattr(leading.Watcher, "_look", seen)
    monkeypatch.setattr(leading.Watcher, "end", late)
    with pytest.raises(Late):
        election.run(lambda _: looks.wait(10), lambda: lost.append(1))
    assert ended.wait(10)
    assert lost == []


def test_a_lead_that_is_over_between_two_looks_is_not_lost() -> None:
    lost: list[int] = []

    class GivenUp:
        @property
        def held(self) -> bool:
            watcher.over.put(None)
            return False

    watcher = leading.Watcher(GivenUp(), lambda: lost.append(1))  # type: ignore[arg-type]
    watcher.run()
    assert lost == []


def test_who_is_forked_while_one_leads_ends_when_its_work_is_done(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not the thread that looks at the lead, and waits for none."""
    election, looks, look, child = client.election("e"), threading.Event(), leading.Watcher._look, -1

    def seen(watcher: leading.Watcher) -> None:
        looks.set()
        look(watcher)

    def lead(_: object) -> None:
        nonlocal child
        assert looks.wait(10)
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # (which ends it)
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert election.leads

    monkeypatch.setattr(leading.Watcher, "_look", seen)
    try:
        election.run(lead)
    except SystemExit as error:
        os._exit(int(error.code or 0))
    finally:
        if child == 0:
            os._exit(1)


def test_what_is_to_end_the_work_of_a_leader_may_fail(
    client: Client, valkey: Server, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    election, told = client.election("e", seconds=2), threading.Event()

    def lead(_: object) -> None:
        with valkey.connect() as raw:
            raw.hdel(f"gristmill:coordination:{{{namespace}}}:lock", "e")
        assert told.wait(8)

    def fail() -> None:
        told.set()
        raise KeyError("why")

    with pytest.raises(LockLost):
        election.run(lead, fail)
    assert "what was to end the work of a leader of e failed" in caplog.text


def test_who_leads_by_one_candidate_twice_is_told_and_leads_on(client: Client) -> None:
    election = client.election("e")

    def lead(_: object) -> None:
        with pytest.raises(NotHeld, match="use another handle"):
            election.run(lead)
        assert election.leads

    election.run(lead)
    assert not election.leads


def test_what_a_handler_has_undone_before_is_not_told_as_an_error(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> bool:
        return True

    async def undo() -> None:
        raise NotHeld("it is given up")

    interrupt(monkeypatch, client, after=True)
    with pytest.raises(Late):
        client._runner.wait(work(), undo)
    gc.collect()
    saying._finish()
    assert not caplog.records


def test_what_a_second_signal_raises_is_raised(client: Client) -> None:
    """While what the first one has interrupted is taken back: it may be the end of the program."""
    raised: list[BaseException] = [SystemExit(3), Late()]
    lock = client.lock("l")

    def ring(*_: object) -> None:
        raise raised.pop()

    former = signal.signal(signal.SIGALRM, ring)
    try:
        client._runner._loop.call_soon_threadsafe(time.sleep, 0.5)  # (it is busy)
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        with pytest.raises(SystemExit) as told:
            lock.acquire()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    assert isinstance(told.value.__context__, Late)
    assert client.lock("l").acquire(5)
    assert not lock.held


@pytest.mark.parametrize("ends", [False, True])
def test_a_handler_of_a_signal_may_use_the_client_while_what_it_interrupts_does(
    valkey: Server, namespace: str, ends: bool
) -> None:
    """It comes just when something is given to the loop; and then at any moment."""
    text = """if True:
    import random, signal, sys, time
    tree, heard = c.tree("t"), []
    def hear(*_):
        heard.append(tree.children())
        if ENDS:
            c.close()
            raise SystemExit(3)
    signal.signal(signal.SIGALRM, hear)
    loop = c._runner._loop
    real = loop.call_soon_threadsafe
    def give(*words):
        loop.call_soon_threadsafe = real
        signal.raise_signal(signal.SIGALRM)
        return real(*words)
    loop.call_soon_threadsafe = give
    tree.children()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        number = len(heard)
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.001))
        while len(heard) == number:
            tree.children()
    c.close()
    print(len(heard) > 100)
    """
    begin = (
        f"from gristmill.coordination import connect\nc = connect({valkey.url!r}, namespace={namespace!r})\n"
    )
    words = [sys.executable, "-c", begin + text.replace("ENDS", str(ends))]
    program = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        out, _ = program.communicate(timeout=30)
    finally:
        program.kill()
    assert (program.returncode, out) == ((3, "") if ends else (0, "True\n"))
