"""One look at all jobs: what a job has done to its own keys is that job's trouble alone."""

from __future__ import annotations

import pytest
from tests.protocol.harness import parameters, planned_job

from gristmill.client.status import status_of
from gristmill.protocol.client import Queue
from gristmill.protocol.keys import keys_of
from gristmill.protocol.statuses import statuses


@pytest.mark.parametrize(
    "damage",
    [
        ("SET", keys_of("bad")[0], "x"),
        ("HSET", keys_of("bad")[0], "settled", "x"),
        ("HSET", keys_of("bad")[0], "dead", "1_0"),
        ("HSET", keys_of("bad")[0], "finished", "9" * 17),
        ("HDEL", keys_of("bad")[0], "phase"),
        ("HSET", keys_of("bad")[0], "phase", "x"),
        ("SET", keys_of("bad")[3], "x"),
        ("HSET", keys_of("bad")[3], "n", "x"),
    ],
)
def test_a_damaged_job_has_failed_and_no_other(client, clock, damage):
    planned_job(client, 4)
    Queue(client, "bad").create(parameters(name="bad"))
    client.delete(damage[1]) if damage[0] == "SET" else None
    client.execute_command(*damage)
    told = statuses(client, ["bad", "j", "absent"])
    assert told["absent"] is None
    assert told["j"]["job"]["phase"] == "running"
    if told["bad"] is not None:  # (without a phase the queue does not know it)
        assert told["bad"]["job"]["phase"] == "failed"
        assert told["bad"]["job"]["reason"] == "QueueDamaged"
        conditions = status_of(told["bad"], (), "")["conditions"]
        assert [c["type"] for c in conditions if c["status"] == "True"] == ["Failed"]
        assert all(c["lastTransitionTime"] for c in conditions)
    else:
        assert damage[0] == "HDEL"


def test_what_a_job_writes_to_its_own_keys_is_told_in_part(client, clock):
    """Who looks at all jobs must not die for memory of one."""
    worker = planned_job(client, 4)
    job, workers = keys_of("j")[0], keys_of("j")[10]
    client.hset(workers, "long", "x" * 70_000)
    client.hset(workers, "x" * 300, "{}")
    client.hset(job, "message", "x" * 1_000_000)
    told = worker.queue.status()
    assert sorted(told["workers"]) == ["a", "long"]
    assert (told["workers"]["a"], told["workers"]["long"]) == ('{"slots":1}', "{}")
    assert len(told["job"]["message"]) == 16_384
    client.delete(workers)
    client.hset(workers, mapping={f"many{n}": "x" * 1000 for n in range(20_000)})
    told = worker.queue.status()
    assert len(told["workers"]) == 10_000
    assert sum(map(len, told["workers"].values())) <= (4 << 20) + 2 * 10_000
