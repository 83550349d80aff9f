"""A job is given up: nothing is leased any more, and what is staged is removed when nobody can write any more."""

from __future__ import annotations

import pytest
from tests.protocol.harness import planned_job, read_raw

from gristmill.protocol.steps import ChoreDone, Done, Release


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
