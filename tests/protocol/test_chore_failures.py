"""A chore is told of the failures that it must know, and of no others: a job may have many."""

from __future__ import annotations

from redis import Redis
from tests.protocol.harness import Clock, planned_job

from gristmill.protocol.steps import Fail
from gristmill.worker.chores import Failures, failures_for

LETTER = '{"kind":"error","attempts":1,"worker":"a","error":"x"}'


def test_a_chore_is_told_of_its_own_failures_alone(client: Redis, clock: Clock) -> None:
    worker = planned_job(client, 12, block_height=2, attempts=1, isolate=1)
    leases = [worker.lease() for _ in range(12)]
    worker.report(*[Fail(lease.nonce, lease.start, "error", 1, 3, True, LETTER) for lease in leases])
    client.config_resetstat()
    told = failures_for("assemble:1", worker.queue)
    assert [(letter.chunk, letter.item) for letter in told.letters] == [(c, 1) for c in (4, 5, 6, 7)]
    assert told.fragments == dict.fromkeys((4, 5, 6, 7), 3)
    assert Failures.from_wire(list(told.to_wire())) == told
    assert failures_for("finish", worker.queue) == Failures(total=12)
    assert failures_for("plan", worker.queue) == Failures()
    called = client.info("commandstats")
    assert called["cmdstat_hmget"]["calls"] == 1, "only letters that are wanted are fetched whole"
