"""What the queue holds grows with what is in flight or wrong, never with what is finished."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis
from tests.protocol.harness import (
    LEASE_MS,
    Clock,
    Server,
    Worker,
    load_library,
    parameters,
    planned_job,
    read_raw,
)

from gristmill.protocol.client import Queue
from gristmill.protocol.keys import keys_of
from gristmill.protocol.steps import ChoreDone, Done, Fail

HISTORY = "gristmill:{j}:history"


def memory_of(client: Redis) -> int:
    """Return the bytes of all keys but the history, which is bounded by itself."""
    return sum(client.memory_usage(key, samples=0) or 0 for key in keys_of("j")[:-1])


def run(client: Redis, chunks: int, want: int, block_height: int, sink: str = "url") -> int:
    """Run all chunks with one worker; return the most memory that was used in between."""
    worker = planned_job(client, chunks, block_height, sink=sink)
    most, cursor, calls = 0, 0, 0
    lease = worker.report(want=want).lease
    while lease:
        if lease.chore:
            step = ChoreDone(
                lease.nonce, {"digest": "d", "items": 1, "bytes": 1} if lease.chore == "finish" else {}
            )
        else:
            payload = b"x" * 10 if sink == "queue" else None
            step = Done(lease.nonce, lease.stop, lease.stop - lease.start, payload=payload, start=lease.start)
        lease = worker.report(step, want=want).lease
        calls += 1
        if sink == "queue" and calls % 50 == 0:
            cursor = worker.queue.collect(cursor, 1 << 20).cursor
        if calls % 100 == 0:
            most = max(most, memory_of(client))
    assert read_raw(client).phase == "complete"
    return max(most, memory_of(client))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("chunks", "want", "block_height"), [(20_000, 0, 5), (10**6, 10, 10), (10**9, 24, 20)]
)
def test_finished_chunks_cost_nothing(client, chunks, want, block_height):
    small = run(client, 10, want, 2)
    client.delete(*keys_of("j"))
    assert run(client, chunks, want, block_height) - small < 4096


def test_collected_results_cost_nothing(client):
    small = run(client, 10, 0, 2, sink="queue")
    client.delete(*keys_of("j"))
    assert run(client, 3000, 0, 2, sink="queue") - small < 16_384


def test_the_history_is_bounded(client):
    worker = planned_job(client, 10**6, 10)
    pipeline = client.pipeline(transaction=False)
    for _ in range(25_000):
        pipeline.xadd(HISTORY, {"what": "leased"})
    pipeline.execute()
    worker.lease()
    assert client.xlen(HISTORY) <= 20_200


def test_letters_are_bounded_in_number_and_size(client):
    worker = planned_job(client, 100, attempts=1, keep=5)
    lease = worker.lease(5)
    worker.report(*[Fail(lease.nonce, chunk, "error", -1, 1, True, "x" * 70_000) for chunk in range(8)])
    worker.report(
        *[Fail(lease.nonce, chunk, "error", -1, 1, True, '"' + "x" * 50_000 + '"') for chunk in range(8, 16)]
    )
    values = read_raw(client).dead.values()
    assert len(values) == 16
    assert max(map(len, values)) < 65_540
    assert sum(map(len, values)) < 5 * 65_540


@pytest.mark.parametrize("payload", [b"x" * 100, b""])
def test_results_that_nobody_collects_hold_back_the_frontier_but_not_the_lowest_chunk(
    client, monkeypatch, payload
):
    worker = planned_job(client, 1000, sink="queue", window=500)
    lowest, granted = worker.lease(), 0
    while granted < 900 and (lease := worker.report(want=0).lease):
        granted += 1
        worker.report(Done(lease.nonce, lease.stop, 1, payload=payload, start=lease.start))
    assert granted == (5 if payload else 900)
    worker.queue.bye("a", lost=False)
    other = Worker(client, "b")
    assert other.lease().start == lowest.start


def test_workers_that_came_and_went_leave_nothing(client, clock: Clock):
    planned_job(client, 10).queue.bye("a", lost=False)
    before = read_raw(client)
    for number in range(200):
        Worker(client, f"w{number}").report()
    for _ in range(10):
        clock.advance(3 * LEASE_MS + 1)
        Worker(client, "last").report()
        Queue(client, "j").bye("last", lost=False)
    after = read_raw(client)
    assert (after.workers, after.replies, after.deadlines) == ({}, {}, {})
    assert after.number("slots") == before.number("slots")


def test_many_expired_leases_come_back_a_bounded_number_a_call(client, clock: Clock):
    worker = planned_job(client, 4096, 6)
    for _ in range(100):
        worker.lease()
    clock.advance(LEASE_MS)
    worker.report()
    assert len(read_raw(client).leases) == 68


def test_very_many_dead_letters_are_opened_again(client):
    worker = planned_job(client, 3000, 6, plan={"tolerated": 10**6}, attempts=1, keep=0)
    lease = worker.lease(10)
    while lease:
        chunks = range(lease.start, lease.stop)
        steps = [Fail(lease.nonce, chunk, "error", -1, 2, True, "{}") for chunk in chunks]
        steps = steps if not lease.chore else [ChoreDone(lease.nonce, {"digest": "", "items": 0, "bytes": 0})]
        lease = worker.report(*steps, want=10).lease
    assert read_raw(client).phase == "complete"
    assert worker.queue.retry([]) == 3000
    raw = read_raw(client)
    assert raw.dead == raw.blocks == {}
    assert (raw.number("open"), raw.number("settled"), raw.number("blocks_done")) == (3000, 0, 0)


@pytest.fixture
def logged(start_server: Callable[..., Server]) -> Server:
    return start_server("--appendonly", "yes", "--appendfsync", "everysec", "--save", "")


def test_a_killed_server_is_back_with_functions_leases_and_replies(logged: Server):
    with logged.connect() as client:
        client.config_set("appendfsync", "always")
        load_library(client)
        client.set("clock", 1)
        worker = planned_job(client, 100, sink="queue")
        lease = worker.lease(3)
        first = worker.queue._call("report", "a", 50, 1, b"\x81\xa5steps\x90", 0.5)
        before = read_raw(client)
    logged.kill()
    logged.start()
    with logged.connect() as client:
        assert read_raw(client) == before
        worker.queue = Queue(client, "j")
        assert worker.queue._call("report", "a", 50, 1, b"\x81\xa5steps\x90", 0.5) == first
        worker.queue._sequence = 50
        assert worker.report(Done(lease.nonce, lease.stop, 8, payload=b"r", start=lease.start)).accepted == [
            True
        ]


def test_a_durable_queue_answers_only_what_is_in_its_log(logged: Server):
    with logged.connect() as client:
        load_library(client)
        client.set("clock", 1)
        queue = Queue(client, "k", durable=True)
        queue.create(parameters())
        queue.hello("a", {"slots": 1})
        assert queue.report("a", 1, [], 0).lease is not None
        written = client.info("persistence")
        assert written["aof_pending_bio_fsync"] == 0
        assert int(client.execute_command("WAITAOF", 1, 0, 1)[0]) == 1
        calls = client.info("commandstats")["cmdstat_waitaof"]["calls"]
        assert calls == 4
        queue.status()
        assert client.info("commandstats")["cmdstat_waitaof"]["calls"] == calls, "reading waits for nothing"
