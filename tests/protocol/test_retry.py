"""Dead letters that are opened again: in a running, a failed and a complete job, and in one that was recovered."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from tests.protocol.harness import Worker, planned_job, read_raw

from gristmill.errors import QueueError
from gristmill.protocol.steps import ChoreDone, Done, Fail

FINISHED = {"digest": "d", "items": 1, "bytes": 1}


def recovered_job(client: Redis, splits: list[tuple[int, int]], dead: list[tuple[int, int]]) -> Worker:
    """A job of four chunks whose one block was complete, with dead items, when the queue lost its memory."""
    known: dict[str, Any] = {
        "pieces": [],
        "settled": 4,
        "items": 9,
        "blocks_done": 1,
        "blocks": [],
        "assemble": [],
        "splits": splits,
        "dead": [(chunk, item, 1, "{}") for chunk, item in dead],
    }
    return planned_job(client, 4, plan={"recovered": known, "finished": FINISHED})


@pytest.mark.parametrize("names", [["1:0"], ["1:2"], ["1:0", "1:2"], []])
def test_a_recovered_chunk_of_unknown_size_is_opened_once_with_all_its_letters(client, names):
    worker = recovered_job(client, [], [(1, 0), (1, 2)])
    assert worker.queue.retry(names) == 2
    raw = read_raw(client)
    assert (raw.phase, raw.dead, raw.splits) == ("running", {}, {})
    assert (raw.number("settled"), raw.number("open"), raw.number("blocks_done")) == (3, 1, 0)
    assert set(raw.pending) == {"1:2:0:0:0"}
    assert (raw.number("items_dead"), raw.number("chunks_failed")) == (0, 0)


def test_of_a_recovered_chunk_of_known_size_only_the_items_are_opened(client):
    worker = recovered_job(client, [(1, 0, 4)], [(1, 0), (1, 2)])
    assert worker.queue.retry(["1:2"]) == 1
    raw = read_raw(client)
    assert (raw.splits["1"], set(raw.pending), set(raw.dead)) == (1, {"1:2:2:3:0"}, {"1:0"})
    assert raw.number("settled") == 3


@pytest.mark.parametrize("stage", ["waiting", "held", "done"])
def test_who_assembles_a_block_that_is_opened_again_loses_the_chore(client, stage):
    worker = planned_job(client, 1, attempts=1)
    worker.report(Fail(worker.lease().nonce, 0, "error", -1, 1, True, "{}"))
    chore = worker.lease() if stage != "waiting" else None
    if stage == "done":
        assert chore
        worker.report(ChoreDone(chore.nonce))
        chore = worker.lease()
        assert chore.chore == "finish"
    assert worker.queue.retry(["0:-1"]) == 1
    if chore:
        assert worker.report(ChoreDone(chore.nonce, FINISHED)).accepted == [False]
    raw = read_raw(client)
    assert (raw.chores, raw.leases, raw.number("blocks_done")) == ({}, {}, 0)
    seen = []
    while lease := worker.report(want=0).lease:
        seen.append(lease.chore)
        step = ChoreDone(lease.nonce, FINISHED) if lease.chore else Done(lease.nonce, 1, 1, start=0)
        worker.report(step)
    assert seen == ["", "assemble:0", "finish"]
    assert read_raw(client).phase == "complete"


def test_results_that_the_reader_was_given_are_not_made_again(client):
    worker = planned_job(client, 3, attempts=1, sink="queue")
    lease = worker.lease()
    worker.report(Fail(lease.nonce, 0, "error", -1, 1, True, "{}"))
    lease = worker.lease()
    worker.report(Done(lease.nonce, 2, 1, payload=b"1", start=1))
    assert worker.queue.collect(0, 100).payloads == [b"1"]
    with pytest.raises(QueueError, match="collected already"):
        worker.queue.retry(["0:-1"])
    assert set(read_raw(client).dead) == {"0:-1"}


def test_results_that_were_only_looked_at_stay_and_are_made_again(client):
    worker = planned_job(client, 3, attempts=1, sink="queue")
    lease = worker.lease()
    worker.report(Fail(lease.nonce, 0, "error", -1, 1, True, "{}"))
    lease = worker.lease()
    worker.report(Done(lease.nonce, 2, 1, payload=b"1", start=1))
    for _ in range(2):
        assert worker.queue.peek(0, 100).payloads == [b"1"]
    assert worker.queue.retry(["0:-1"]) == 1
    worker.queue.collect(0, 100)
    worker.report(Done(worker.lease().nonce, 1, 1, payload=b"0", start=0))
    assert worker.queue.collect(0, 1).cursor == 1
    worker.queue.collect(1, 1)
    with pytest.raises(QueueError, match="below chunk 1 were collected already"):
        worker.queue.peek(0, 100)


def test_a_job_that_failed_goes_on_where_it_was(client):
    worker = planned_job(client, 8, attempts=1, plan={"tolerated": 0})
    worker.report(Fail(worker.lease().nonce, 0, "error", -1, 1, True, "{}"))
    assert worker.report(want=0).lease is None
    assert worker.queue.retry([]) == 1
    assert read_raw(client).phase == "running"
    assert [worker.lease().start for _ in range(3)] == [0, 1, 2]
    assert worker.queue.retry(["7:0", "nonsense", "0:-1"]) == 0
