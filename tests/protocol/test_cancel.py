"""A job is given up: nothing is leased any more, and what is staged is removed when nobody can write any more."""

from __future__ import annotations

import pytest
from tests.protocol.harness import Worker, planned_job, read_raw

from gristmill.errors import QueueError
from gristmill.protocol.steps import ChoreDone, ChoreFailed, Done, Fail, Release


def test_what_is_staged_is_removed_when_all_leases_are_back(client, clock):
    worker = planned_job(client, 8)
    first, second = worker.lease(), worker.lease()
    worker.report(Done(first.nonce, 1, 1, start=0))
    assert worker.queue.cancel() == "removing"
    assert worker.report(want=3).lease is None
    assert worker.report(Release(second.nonce), want=3).lease is not None


def test_the_chore_ends_the_removal(client, clock):
    worker = planned_job(client, 8)
    worker.queue.cancel()
    lease = worker.lease()
    assert lease.chore == "clean"
    assert worker.report(ChoreDone(lease.nonce, {})).accepted == [True]
    assert read_raw(client).phase == "removed"
    assert worker.report(want=0).lease is None
    assert worker.queue.cancel() == "removed"


def test_a_worker_that_is_gone_holds_it_up_for_a_lease_only(client, clock):
    worker = planned_job(client, 8)
    worker.lease()
    worker.queue.cancel()
    assert worker.report(want=0).lease is None
    clock.advance(60_000)
    assert worker.report(want=0).lease.chore == "clean"


@pytest.mark.parametrize("sink", ["queue", "url"])
def test_where_nothing_is_staged_it_is_removed_at_once(client, clock, sink):
    worker = planned_job(client, 0, sink=sink)
    if sink == "url":
        lease = worker.lease()
        worker.report(ChoreDone(lease.nonce, {"digest": "d", "items": 0, "bytes": 0}))
    assert worker.queue.cancel() == "removed"


def test_a_chore_that_was_held_is_not_done_any_more(client, clock):
    worker = planned_job(client, 4, block_height=2)
    for _ in range(4):
        lease = worker.lease()
        worker.report(Done(lease.nonce, lease.stop, 1, start=lease.start))
    lease = worker.lease()
    assert lease.chore == "assemble:0"
    worker.queue.cancel()
    worker.report(Release(lease.nonce))
    assert worker.lease().chore == "clean"


def test_status_tells_what_could_be_leased(client, clock):
    worker = planned_job(client, 8)
    assert worker.queue.status()["ready"] == 8
    worker.queue.suspend(True)
    assert worker.queue.status()["ready"] == 0
    worker.queue.suspend(False)
    worker.report(Release(worker.lease(3).nonce))
    assert worker.queue.status()["ready"] >= 1
    assert "due" not in worker.queue.status()


def test_what_can_not_be_removed_is_told_and_the_job_is_removed_nevertheless(client, clock):
    worker = planned_job(client, 8)
    worker.queue.cancel()
    tries = 0
    while read_raw(client).phase == "removing":
        lease = worker.lease()
        assert (lease.chore, lease.attempt) == ("clean", tries + 1)
        worker.report(ChoreFailed(lease.nonce, "OutputFailed", "out can't be removed"))
        clock.advance(60_000)
        tries += 1
        assert tries <= 5
    raw = read_raw(client)
    assert (raw.phase, raw.job["reason"]) == ("removed", "RemovalIncomplete")
    assert raw.job["message"] == "what was staged in the output may be left there: out can't be removed"
    assert (raw.chores, raw.units) == ({}, {})
    assert tries == 5


def test_who_cleans_up_is_not_lost_for_ever(client, clock):
    worker = planned_job(client, 8, infrastructure=2)
    worker.queue.cancel()
    for _ in range(3):
        assert worker.lease().chore == "clean"
        worker.queue.bye(worker.name, lost=True)
        worker = Worker(client, worker.name + "x")
    raw = read_raw(client)
    assert (raw.phase, raw.job["reason"]) == ("removed", "RemovalIncomplete")
    assert "3 workers were lost in a row" in raw.job["message"]


def test_a_chore_that_was_held_and_fails_does_not_end_the_removal(client, clock):
    worker = planned_job(client, 4, block_height=2)
    for _ in range(4):
        lease = worker.lease()
        worker.report(Done(lease.nonce, lease.stop, 1, start=lease.start))
    lease = worker.lease()
    assert lease.chore == "assemble:0"
    worker.queue.cancel()
    worker.report(ChoreFailed(lease.nonce, "OutputFailed", "no", final=True))
    assert worker.lease().chore == "clean"


@pytest.mark.parametrize("phase", ["removing", "removed"])
def test_nothing_of_a_job_that_was_given_up_is_tried_again(client, clock, phase):
    worker = planned_job(client, 8, attempts=1, plan={"tolerated": 8})
    worker.report(Fail(worker.lease().nonce, 0, "error", -1, 1, True, "{}"))
    worker.queue.cancel()
    while phase == "removed" and read_raw(client).phase != phase:
        lease = worker.lease()
        worker.report(ChoreDone(lease.nonce, {}) if lease.chore else Release(lease.nonce))
    before = read_raw(client)
    assert before.phase == phase
    with pytest.raises(QueueError, match="was given up"):
        worker.queue.retry([])
    assert read_raw(client) == before
