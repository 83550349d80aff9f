"""The operator's connection to a real queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, ResponseError
from tests.unit.reconcile_builders import resource

from gristmill.controllers import queue_link
from gristmill.controllers.queue_link import QueueLink
from gristmill.errors import QueueError
from gristmill.local.server import Server
from gristmill.protocol import client as protocol
from gristmill.protocol.client import Queue, connect
from gristmill.protocol.keys import keys_of
from gristmill.protocol.library import library
from gristmill.protocol.refusals import NoSuchJob
from gristmill.reconcilers.access import password_of, user_of
from gristmill.reconcilers.observed import context_of


@pytest.fixture
def link(tmp_path: Path) -> Iterator[QueueLink]:
    server = Server.start(tmp_path / "queue", durable=False)
    link = QueueLink("nowhere:6379", b"key")
    link._client = connect(server.draft_url)
    Queue(link._client, "-").load_library()
    yield link
    server.kill()


def test_the_queue_remembers_where_a_chunkjob_is(link: QueueLink, monkeypatch: pytest.MonkeyPatch) -> None:
    # (this server has no file to save its users in)
    execute = link._client.execute_command
    monkeypatch.setattr(
        link._client, "execute_command", lambda *words: words != ("ACL", "SAVE") and execute(*words)
    )
    link._client.set("gristmill:{c}:job", "what a job wrote there")
    link._client.hset("gristmill:{d}:job", "namespace", "x" * 1_000_000)

    async def run() -> dict[str, str]:
        await link.admit("a", "here", context_of(resource()), 1)
        return await link.namespaces(["a", "b", "c", "d", "e"])

    assert asyncio.run(run()) == {"a": "here", "b": "", "c": "", "d": "", "e": ""}


# -- what the server refuses


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that the operator's connection reaches."""
    server = Server.start(tmp_path / "queue", durable=False)
    with connect(server.draft_url) as client:
        Queue(client, "-").exists()  # (which waits for it)
    yield server
    server.kill()


@pytest.fixture
def begin(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[], QueueLink]:
    """Return what gives a connection as an operator that begins has one."""

    def reached(url: str, answer_seconds: float) -> Redis:
        client = connect(server.draft_url, answer_seconds)
        execute = client.execute_command
        # (this server has no file to save its users in)
        monkeypatch.setattr(
            client,
            "execute_command",
            lambda *words, **more: words == ("ACL", "SAVE") or execute(*words, **more),
        )
        return client

    monkeypatch.setattr(queue_link, "connect", reached)
    return lambda: QueueLink("nowhere:6379", b"key")


def admit(link: QueueLink, *uids: str) -> None:
    async def run() -> None:
        for uid in uids:
            await link.admit(uid, "here", context_of(resource()), 1)

    asyncio.run(run())


def fill(server: Server) -> None:
    with connect(server.draft_url) as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(Exception, match="maxmemory"):
            client.set("more", "x")


def test_an_operator_that_begins_at_a_full_queue_sees_it_and_can_empty_it(
    server: Server, begin: Callable[[], QueueLink]
) -> None:
    admit(begin(), "a", "b")
    fill(server)
    link = begin()

    async def run() -> None:
        told, users = await link.look(["a", "b"])
        assert [(told[uid] or {})["job"]["phase"] for uid in "ab"] == ["planning"] * 2
        assert {user_of("a"), user_of("b")} <= users
        with pytest.raises(QueueError, match="refused"):
            await link.admit("c", "here", context_of(resource()), 1)
        assert link.answers
        await link.cancel("a")
        await link.forget("a")
        told, users = await link.look(["a"])
        assert told == {"a": None}
        assert user_of("a") not in users

    asyncio.run(run())


def test_functions_of_another_version_that_answer_otherwise_damage_no_job(
    server: Server, begin: Callable[[], QueueLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is full, and takes those of this version later."""
    admit(begin(), "a")
    text = library()
    with connect(server.draft_url) as client:
        client.function_load(
            text.replace(
                "define('status', function(k, args)",
                "define('status', function(k, args)\n  if args[1] then error('what is this') end",
            ),
            replace=True,
        )
    fill(server)
    link = begin()
    with pytest.raises(QueueError, match="what is this"):
        asyncio.run(link.look(["a"]))
    assert not link.answers
    with connect(server.draft_url) as client:
        client.config_set("maxmemory", 0)
    told, _ = asyncio.run(begin().look(["a"]))
    assert (told["a"] or {})["job"]["phase"] == "planning"


def test_one_damaged_job_is_no_silence_of_a_full_queue_without_this_versions_functions(
    server: Server, begin: Callable[[], QueueLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    admit(begin(), "a", "b")
    with connect(server.draft_url) as client:
        client.hset(keys_of("a")[0], "created", "never")
    fill(server)
    text = library()
    monkeypatch.setattr(protocol, "library", lambda: text + "\n-- newer")
    link = begin()
    told, _ = asyncio.run(link.look(["a", "b"]))
    assert link.answers
    assert [(told[uid] or {})["job"]["phase"] for uid in "ab"] == ["failed", "planning"]


def test_a_full_queue_keeps_the_functions_of_a_former_version(
    server: Server,
    begin: Callable[[], QueueLink],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    admit(begin(), "a")
    fill(server)
    text = library()
    monkeypatch.setattr(protocol, "library", lambda: text + "\n-- newer")
    link = begin()
    told, _ = asyncio.run(link.look(["a"]))
    assert (told["a"] or {})["job"]["phase"] == "planning"
    assert "functions" in caplog.text
    with connect(server.draft_url) as client:
        client.config_set("maxmemory", 0)
        asyncio.run(link.look(["a"]))
        assert Queue(client, "-").has_library()


def test_damaged_keys_of_one_job_are_no_silence_of_the_queue(
    server: Server, begin: Callable[[], QueueLink]
) -> None:
    link = begin()
    admit(link, "a", "bad")
    with connect(server.draft_url) as client:
        client.set(keys_of("bad")[0], "x")

        async def run() -> None:
            await link.look(["a", "bad"])
            with pytest.raises(QueueError, match="WRONGTYPE"):
                await link.cancel("bad")
            assert link.answers
            await link.forget("bad")
            told, users = await link.look(["a", "bad"])
            assert (told["a"] or {})["job"]["phase"] == "planning"
            assert told["bad"] is None
            assert user_of("bad") not in users

        asyncio.run(run())
        assert client.keys("gristmill:{bad}*") == []


def test_when_a_job_was_damaged_does_not_move(server: Server, begin: Callable[[], QueueLink]) -> None:
    """Else its status would be written for ever, and its time to live would never run out."""
    link = begin()
    admit(link, "bad")
    with connect(server.draft_url) as client:
        client.set(keys_of("bad")[0], "x")

    async def run() -> list[str]:
        ends = []
        for _ in range(2):
            told, _ = await link.look(["bad"])
            ends.append((told["bad"] or {})["job"]["finished"])
            await asyncio.sleep(0.01)
        return ends

    first, second = asyncio.run(run())
    assert first == second


def test_a_server_that_is_away_does_not_answer(server: Server, begin: Callable[[], QueueLink]) -> None:
    link = begin()
    admit(link, "a")
    assert link.answers
    server.kill()
    with pytest.raises(QueueError, match="does not answer"):
        asyncio.run(link.cancel("a"))
    assert not link.answers


def test_a_server_that_is_busy_says_nothing_of_any_job(
    server: Server, begin: Callable[[], QueueLink]
) -> None:
    """None is damaged, and what is known of them is old."""
    link = begin()
    admit(link, "a")
    with connect(server.draft_url) as client:
        client.config_set("busy-reply-threshold", 1)
        busy = client.connection_pool.get_connection()
        busy.send_command("EVAL", "while true do end", 0)
        try:
            until = time.monotonic() + 30
            while link.answers and time.monotonic() < until:
                with suppress(QueueError):
                    told, _ = asyncio.run(link.look(["a"]))
                    assert (told["a"] or {})["job"]["phase"] == "planning"
            assert not link.answers
        finally:
            client.execute_command("SCRIPT", "KILL")
        with pytest.raises(ResponseError, match="killed"):
            busy.read_response()
        asyncio.run(link.look(["a"]))
        assert link.answers


def test_a_password_that_is_not_the_servers_any_more_is_forgotten(
    server: Server, begin: Callable[[], QueueLink]
) -> None:
    """It is read anew: the Secret may have been made again."""
    with connect(server.draft_url) as client:
        client.config_set("requirepass", "new")
        link = begin()
        link.use_password("old")
        with pytest.raises(QueueError, match="password"):
            asyncio.run(link.look(["a"]))
        assert (link.asked, link.answers, link.has_password) == (True, False, False)
        client.config_set("requirepass", "")
    asyncio.run(link.look(["a"]))
    assert link.answers


def test_a_password_may_have_any_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    clients: list[Redis] = []

    def reached(url: str, answer_seconds: float) -> Redis:
        clients.append(connect(url, answer_seconds))
        raise QueueError("far enough")

    monkeypatch.setattr(queue_link, "connect", reached)
    link = QueueLink("queue:6379", b"key")
    link.use_password("a/b#c?d%41@:")
    with pytest.raises(QueueError, match="far enough"):
        asyncio.run(link.look(["a"]))
    (client,) = clients
    assert client.connection_pool.connection_kwargs["password"] == "a/b#c?d%41@:"


def test_functions_that_the_server_has_lost_are_loaded_again(
    server: Server, begin: Callable[[], QueueLink]
) -> None:
    link = begin()
    admit(link, "a")
    with connect(server.draft_url) as client:
        client.function_flush()
    asyncio.run(link.cancel("a"))
    told, _ = asyncio.run(link.look(["a"]))
    assert (told["a"] or {})["job"]["phase"] == "removed"
    with pytest.raises(NoSuchJob):
        asyncio.run(link.cancel("b"))


def test_a_job_that_is_damaged_again_has_failed_then(server: Server, begin: Callable[[], QueueLink]) -> None:
    link = begin()

    def damaged(on: bool) -> str:
        with connect(server.draft_url) as client:
            client.set(keys_of("bad")[0], "x") if on else client.delete(keys_of("bad")[0])
        told, _ = asyncio.run(link.look(["bad"]))
        return str((told["bad"] or {"job": {"finished": ""}})["job"]["finished"])

    first = damaged(True)
    while int(time.time() * 1000) <= int(first):
        pass
    assert damaged(True) == first
    assert damaged(False) == ""
    assert int(damaged(True)) > int(first)


def test_what_is_to_be_forgotten_is_let_in_no_more_before_its_keys_go(
    server: Server, begin: Callable[[], QueueLink]
) -> None:
    """Else it could make others meanwhile, and nothing would find them without its user."""
    link = begin()
    admit(link, "a")
    password = password_of(b"key", "a")
    with connect(server.draft_url) as client:
        assert client.execute_command("AUTH", user_of("a"), password)
    with connect(server.draft_url) as client:
        client.config_set("min-replicas-to-write", 1)
        with pytest.raises(QueueError, match="NOREPLICAS"):
            asyncio.run(link.forget("a"))
        assert user_of("a").encode() in client.execute_command("ACL", "USERS")
        with pytest.raises(AuthenticationError):
            client.execute_command("AUTH", user_of("a"), password)
