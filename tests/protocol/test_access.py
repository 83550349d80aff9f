"""A job's user in the queue works for its job, and can neither see nor harm anything else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from tests.protocol.harness import Server, Worker, parameters, plan_data

import gristmill.protocol
from gristmill.errors import QueueError
from gristmill.protocol.client import Queue
from gristmill.protocol.keys import keys_of
from gristmill.protocol.library import library
from gristmill.protocol.steps import ChoreDone, Done
from gristmill.reconcilers.access import rules_of, user_of

MINE, OTHER = keys_of("mine"), keys_of("other")
#: the only commands that name no key and are allowed
WITHOUT_KEYS = {
    "auth", "client|setinfo", "client|setname", "hello", "ping", "quit", "reset", "time", "waitaof",
    "xgroup|help", "xinfo|help",
}  # fmt: skip
REFUSED = [
    ("GET", OTHER[0]), ("HGETALL", OTHER[0]), ("ZRANGE", OTHER[1], "0", "-1"), ("EXISTS", OTHER[0]),
    ("HSET", OTHER[0], "phase", "complete"), ("DEL", OTHER[0]), ("UNLINK", OTHER[0]), ("TYPE", OTHER[0]),
    ("KEYS", "*"), ("SCAN", "0"), ("CLUSTERSCAN", "0"), ("RANDOMKEY",), ("DBSIZE",), ("OBJECT", "ENCODING", OTHER[0]),
    ("FLUSHALL",), ("FLUSHDB",), ("SWAPDB", "0", "1"), ("SELECT", "1"), ("MOVE", MINE[0], "1"),
    ("COPY", OTHER[0], MINE[0]), ("RENAME", OTHER[0], MINE[0]), ("DUMP", OTHER[0]),
    ("RESTORE", MINE[0], "0", "x"), ("MIGRATE", "127.0.0.1", "6379", MINE[0], "0", "100"),
    ("SORT", MINE[1], "BY", "gristmill:{other}:*", "GET", "gristmill:{other}:*"), ("SORT_RO", MINE[1]),
    ("SUNIONSTORE", MINE[1], OTHER[1]), ("ZUNIONSTORE", MINE[1], "1", OTHER[1]),
    ("LMOVE", OTHER[1], MINE[1], "LEFT", "LEFT"), ("XREAD", "STREAMS", OTHER[14], "0"),
    ("EVAL", "return 1", "0"), ("EVAL_RO", "return 1", "0"), ("EVALSHA", "0" * 40, "0"),
    ("SCRIPT", "LOAD", "return 1"), ("SCRIPT", "FLUSH"),
    ("FUNCTION", "LOAD", "REPLACE", library()), ("FUNCTION", "DELETE", "gristmill_1"), ("FUNCTION", "FLUSH"),
    ("FUNCTION", "RESTORE", "x"), ("FUNCTION", "DUMP"), ("FUNCTION", "LIST"), ("FUNCTION", "KILL"),
    ("FUNCTION", "STATS"), ("CONFIG", "GET", "*"), ("CONFIG", "SET", "dir", "/tmp"), ("CONFIG", "REWRITE"),
    ("ACL", "LIST"), ("ACL", "WHOAMI"), ("ACL", "USERS"), ("ACL", "SETUSER", "me", "on"), ("ACL", "SAVE"),
    ("ACL", "GENPASS"), ("CLIENT", "LIST"), ("CLIENT", "KILL", "TYPE", "normal"), ("CLIENT", "PAUSE", "1"),
    ("CLIENT", "TRACKING", "on", "BCAST"), ("CLIENT", "NO-EVICT", "on"), ("MONITOR",),
    ("SUBSCRIBE", "c"), ("PSUBSCRIBE", "*"), ("SSUBSCRIBE", "c"), ("PUBLISH", "c", "x"), ("PUBSUB", "CHANNELS"),
    ("DEBUG", "SLEEP", "0"), ("MODULE", "LIST"), ("MODULE", "LOAD", "/tmp/x.so"), ("SHUTDOWN", "NOSAVE"), ("SAVE",),
    ("BGREWRITEAOF",), ("REPLICAOF", "NO", "ONE"), ("SLAVEOF", "NO", "ONE"), ("FAILOVER",), ("INFO",), ("ROLE",),
    ("LATENCY", "LATEST"), ("SLOWLOG", "GET"), ("MEMORY", "STATS"), ("MEMORY", "PURGE"), ("LASTSAVE",),
    ("CLUSTER", "INFO"), ("PSYNC", "?", "-1"), ("SYNC",), ("WAIT", "1", "0"), ("MULTI",),
    ("BLPOP", MINE[1], "1"),
]  # fmt: skip


@pytest.fixture
def queue(client: Redis) -> Iterator[Redis]:
    """The queue with two jobs, as its owner sees it."""
    client.function_load(library(), replace=True)
    for uid in ("mine", "other"):
        client.execute_command("ACL", "SETUSER", user_of(uid), *rules_of(uid, "password"))
        Queue(client, uid).create(parameters())
    yield client
    for uid in ("mine", "other"):
        client.execute_command("ACL", "DELUSER", user_of(uid))


@pytest.fixture
def user(queue: Redis, server: Server) -> Iterator[Redis]:
    """What the pods of one of the jobs see."""
    with Redis.from_url(server.url, username="job-mine", password="password") as connection:
        yield connection


def test_it_works_for_its_job(user: Redis) -> None:
    worker = Worker(user, job="mine")
    plan = worker.lease()
    assert worker.report(ChoreDone(plan.nonce, plan_data(1))).accepted == [True]
    lease = worker.lease(want=1)
    done = worker.report(Done(lease.nonce, 1, 1, start=lease.start, payload=b"result"))
    assert done.accepted == [True]
    assert worker.queue.exists()
    assert user.ping()


def test_all_that_the_functions_use_is_allowed(queue: Redis) -> None:
    texts = [path.read_text() for path in Path(gristmill.protocol.__file__).parent.glob("lua/*.lua")]
    used = {name for text in texts for name in re.findall(r"\bcall\(\s*'(\w+)'", text)}
    assert "HSET" in used
    assert {name.lower() for name in used} <= allowed(queue)


def test_what_is_allowed_names_its_keys(queue: Redis) -> None:
    without = {name for name in allowed(queue) if not command(queue, name)[8]}
    assert without == WITHOUT_KEYS


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_all_else_is_refused(queue: Redis, user: Redis, words: tuple[str, ...]) -> None:
    before = contents(queue)
    # (some are off for everybody, and an older server does not know all)
    with pytest.raises(ResponseError, match=r"(?i)no permissions|command not allowed|unknown command"):
        user.execute_command(*words)
    assert contents(queue) == before


@pytest.mark.parametrize("function", ["status", "create", "cancel", "remove", "configure", "suspend"])
def test_functions_are_refused_with_the_keys_of_another_job(queue: Redis, user: Redis, function: str) -> None:
    before = contents(queue)
    call = user.fcall_ro if function == "status" else user.fcall
    for keys in (OTHER, (*MINE[:-1], OTHER[-1]), (OTHER[0], *MINE[1:])):
        with pytest.raises(NoPermissionError):
            call(f"gristmill_{function}", len(keys), *keys, "x", "y")
    assert contents(queue) == before


@pytest.mark.parametrize("name", ["junk", "", "jobs", "job:1", "*"])
def test_it_makes_no_keys_that_nobody_removes(queue: Redis, user: Redis, name: str) -> None:
    with pytest.raises(NoPermissionError):
        user.set(f"gristmill:{{mine}}:{name}", "x")
    for key in MINE:
        user.unlink(key)
        user.set(key, "x")
    Queue(queue, "mine").remove()
    assert {key for key in queue.keys("*") if b"{mine}" in key} == set()


def test_functions_are_refused_keys_that_are_not_declared(queue: Redis, user: Redis) -> None:
    before = contents(queue)
    with pytest.raises(ResponseError):
        user.fcall("gristmill_create", 0, *OTHER, "phase", "complete")
    assert contents(queue) == before


def test_the_password_is_needed(server: Server, queue: Redis) -> None:
    for password in ("", "Password", "password\n"):
        with server.connect() as connection, pytest.raises(AuthenticationError):
            connection.execute_command("AUTH", "job-mine", password)


def test_a_worker_waits_for_its_user_in_a_queue_that_is_new(server: Server, queue: Redis) -> None:
    queue.execute_command("ACL", "DELUSER", user_of("mine"))
    with Redis.from_url(server.url, username="job-mine", password="password") as connection:
        with pytest.raises(QueueError, match="invalid username-password pair"):
            Queue(connection, "mine").status()
        waiting = Queue(connection, "mine", admission=60)
        rules = rules_of("mine", "password")
        waiting.on_wait = lambda: queue.execute_command("ACL", "SETUSER", user_of("mine"), *rules)
        assert waiting.status()["job"]["phase"] == "planning"


def contents(queue: Redis) -> Any:
    """Return all that a user must not change."""
    keys = sorted(queue.keys("*"))
    users = queue.execute_command("ACL", "LIST")
    return keys, [queue.dump(key) for key in keys], users, queue.execute_command("FUNCTION LIST")


def command(queue: Redis, name: str) -> list[Any]:
    """Return what the server says of a command; its ninth part is where its keys are."""
    (found,) = queue.execute_command("COMMAND INFO", name)
    return list(found)


def allowed(queue: Redis) -> set[str]:
    """Return the commands that a job's user may give, if the keys are its own."""
    found = set()
    names = {name.decode() for name in queue.execute_command("COMMAND LIST")}
    containers = {name.partition("|")[0] for name in names if "|" in name}
    for name in names - containers:
        words = name.split("|")
        words += [MINE[0]] * (abs(command(queue, name)[1]) - len(words))
        try:
            answer = queue.execute_command("ACL DRYRUN", user_of("mine"), *words)
        except ResponseError as error:
            answer = str(error)
        if "no permissions to run" not in (answer.decode() if isinstance(answer, bytes) else str(answer)):
            found.add(name)
    return found
