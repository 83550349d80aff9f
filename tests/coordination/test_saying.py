"""Who logs may be held up, for any time: a client is not."""

from __future__ import annotations

import _thread
import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from queue import SimpleQueue

import pytest
from tests.conftest import Until
from tests.protocol.harness import Server

from gristmill.coordination import connect, saying
from gristmill.coordination.sync import Client

LOG = logging.getLogger("gristmill.coordination")


@pytest.fixture
def client(own_valkey: Server) -> Iterator[Client]:
    with connect(own_valkey.url) as made:
        yield made


@pytest.fixture
def handler() -> Iterator[logging.Handler]:
    """Return a handler of what a client logs."""
    made = logging.NullHandler()
    made.handle = made.emit = lambda record: None  # type: ignore[method-assign, assignment]
    LOG.addHandler(made)
    yield made
    LOG.removeHandler(made)


def take_away(server: Server, kind: str) -> None:
    with server.connect() as raw:
        raw.delete("gristmill:coordination:{default}:" + kind)


def test_a_loss_is_known_while_nobody_takes_what_is_logged(
    client: Client, own_valkey: Server, handler: logging.Handler, until: Until
) -> None:
    goes_on = threading.Event()
    handler.handle = lambda record: goes_on.wait(60)  # type: ignore[method-assign]
    try:
        lock, tree = client.lock("l", seconds=20), client.tree("t", seconds=20)
        lock.acquire()
        tree.create("/e", ephemeral=True)
        take_away(own_valkey, "lock")
        take_away(own_valkey, "session")
        assert lock.wait_lost(8)
        assert not lock.held
        until(lambda: tree._tree.session_lost)
        tree.set("/a", "1")
        client.close()
    finally:
        goes_on.set()


@pytest.mark.parametrize("of_the_handler", [False, True])
def test_a_loss_is_known_to_a_signal_s_handler_that_has_interrupted_logging(
    client: Client, own_valkey: Server, of_the_handler: bool
) -> None:
    """Then what it has interrupted has a lock of logging: that of one who writes, or logging's own."""
    made = logging.NullHandler()
    made.handle = lambda record: made.acquire() or made.release()  # type: ignore
    LOG.addHandler(made)
    try:
        lock = client.lock("l", seconds=20)
        lock.acquire()
        taken: AbstractContextManager[object] = threading.RLock()
        if of_the_handler:
            made.createLock()
            made.lock = taken  # type: ignore[assignment]
        else:
            LOG.manager._clear_cache()  # type: ignore[attr-defined]
            taken = logging._lock  # type: ignore[attr-defined]
        with taken:
            take_away(own_valkey, "lock")
            assert lock.wait_lost(8)
            client.close()
    finally:
        LOG.removeHandler(made)


def test_what_is_said_last_is_said_before_a_program_ends_and_in_one_that_was_forked() -> None:
    text = (
        "import logging, os, sys; from gristmill.coordination.saying import say; log = logging.getLogger('here')\n"
        "say(log, logging.WARNING, 'first'); say(log, logging.INFO, 'not this')\n"
        "if os.fork() == 0: say(log, logging.WARNING, 'of the %s', 'child'); sys.exit()\n"
        "os.wait(); say(log, logging.ERROR, 'last', error=KeyError('why'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True
    )
    *both, last, why = done.stderr.splitlines()
    assert (sorted(both), last, why) == (["first", "of the child"], "last", "KeyError: 'why'")


def test_of_what_nobody_takes_not_all_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saying, "_MOST", 3)
    speaker, goes_on, said = saying._Speaker(), threading.Event(), list[int]()
    speaker.do(lambda: goes_on.wait(60))
    for number in range(10):
        speaker.do(lambda number=number: said.append(number))  # type: ignore[misc]
    goes_on.set()
    speaker.finish()
    assert said in ([0, 1], [0, 1, 2])


def test_what_a_client_has_said_is_logged_when_it_is_closed(
    own_valkey: Server, handler: logging.Handler
) -> None:
    lines: list[str] = []

    def handle(record: logging.LogRecord) -> None:
        time.sleep(0.4)
        lines.append(record.getMessage())

    handler.handle = handle  # type: ignore[method-assign, assignment]
    with connect(own_valkey.url) as client:
        lock = client.lock("l", seconds=2)
        lock.acquire()
        take_away(own_valkey, "lock")
        assert lock.wait_lost(8)
    assert [line for line in lines if line.startswith("lock l is lost")]


def test_a_handler_that_ends_the_program_does_not_end_what_is_said() -> None:
    speaker, said = saying._Speaker(), list[int]()
    speaker.do(lambda: sys.exit(1))
    speaker.do(lambda: said.append(1))
    speaker.finish()
    assert said == [1]


def test_what_no_thread_could_be_had_for_is_said_when_one_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a pod may have no more for a moment."""
    speaker, said = saying._Speaker(), SimpleQueue[int]()

    def full(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", full)
        speaker.do(lambda: said.put(1))
        speaker.do(lambda: said.put(2))
    speaker.do(lambda: said.put(3))
    assert [said.get(timeout=8) for _ in range(3)] == [1, 2, 3]
    speaker.do(lambda: said.put(threading.get_ident()))
    speaker.do(lambda: said.put(threading.get_ident()))
    assert said.get(timeout=8) == said.get(timeout=8) != threading.get_ident()


def test_what_no_thread_could_be_had_for_is_said_at_the_end_and_waited_for_by_no_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speaker, said = saying._Speaker(), list[int]()

    def full(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(saying, "_END_SECONDS", 30.0)
    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", full)
        speaker.do(lambda: said.append(1))
    begin = time.monotonic()
    asyncio.run(speaker.wait())
    assert said == []
    speaker.finish()
    assert said == [1]
    assert time.monotonic() - begin < 10


def test_of_what_another_package_logs_in_a_task_the_errors_alone_are_kept_apart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = logging.getLogger("tests.other")
    with saying.apart("tests.other") as errors:
        other.warning("a warning of the %s", "other")
        other.error("an error of the %s", "other")
    other.error("of nobody")
    saying._speaker.finish()
    assert errors == ["an error of the other"]
    assert sorted(caplog.messages) == ["a warning of the other", "of nobody"]
