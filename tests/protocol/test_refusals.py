"""What a refusal of the server means, for a call that waits for the server's log and for one that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ResponseError
from tests.conftest import Until
from tests.protocol.harness import Server, load_library, parameters

from gristmill import settings
from gristmill.errors import QueueError
from gristmill.protocol.client import Queue
from gristmill.protocol.keys import keys_of
from gristmill.protocol.refusals import NoSuchJob, will_pass

pytestmark = pytest.mark.parametrize("durable", [False, True])


@pytest.fixture(scope="module")
def logged(start_server: Callable[..., Server]) -> Server:
    return start_server("--appendonly", "yes", "--save", "", "--dbfilename", "dump")


@pytest.fixture
def client(logged: Server) -> Iterator[Redis]:
    with logged.connect() as connection:
        connection.flushall()
        load_library(connection)
        connection.set("clock", 1_700_000_000_000)
        yield connection


def test_a_job_that_is_not_there_is_told_as_such(client: Redis, durable: bool) -> None:
    with pytest.raises(NoSuchJob, match="NOJOB"):
        Queue(client, "none", durable=durable).hello("w", {"slots": 1})


def test_a_call_that_is_wrong_is_not_repeated(client: Redis, durable: bool) -> None:
    client.set(keys_of("j")[0], "no hash")
    with pytest.raises(QueueError, match="refused the call: WRONGTYPE"):
        Queue(client, "j", durable=durable).hello("w", {"slots": 1})


def test_one_that_passes_is_waited_for(client: Redis, durable: bool, tmp_path: Path, until: Until) -> None:
    """MISCONF: the server could not write to its disk."""
    queue = Queue(client, "j", durable=durable)
    queue.create(parameters())
    in_the_way = Path(str(client.config_get("dir")["dir"])) / "dump" / "x"
    in_the_way.mkdir(parents=True)
    client.config_set("save", "3600 1000000")
    client.bgsave()
    until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    with pytest.raises(ResponseError, match="MISCONF"):
        client.set("x", 1)
    waits: list[str] = []

    def mend() -> None:
        waits.append("once")
        in_the_way.rmdir()
        in_the_way.parent.rmdir()
        client.config_set("save", "")

    queue.on_wait = mend
    queue.hello("w", {"slots": 1})
    assert waits == ["once"]


def test_what_passes_does_so_by_its_word(durable: bool) -> None:
    for word in (
        "MISCONF x",
        "BUSY x",
        "LOADING x",
        "NOREPLICAS x",
        "TRYAGAIN x",
        "MASTERDOWN x",
        "CLUSTERDOWN x",
    ):
        assert will_pass(ResponseError(word))
    assert not will_pass(ResponseError("NOJOB x"))


def test_a_log_that_is_not_written_is_no_answer(
    client: Redis, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(client, "j", durable=durable)
    queue.create(parameters())
    monkeypatch.setattr(settings, "RECONNECT_SECONDS", 0.2)
    monkeypatch.setattr("gristmill.protocol.client._LOG_MS", 50)
    client.config_set("appendfsync", "no")
    try:
        if durable:
            with pytest.raises(QueueError, match="has not written its log within 50 ms"):
                queue.hello("w", {"slots": 1})
        else:
            queue.hello("w", {"slots": 1})
    finally:
        client.config_set("appendfsync", "everysec")
