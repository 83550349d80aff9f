"""One look at all jobs: what a job has done to its own keys is that job's trouble alone."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from redis.exceptions import ResponseError
from tests.protocol.harness import parameters, planned_job

from gristmill.protocol.client import Queue
from gristmill.protocol.keys import keys_of
from gristmill.protocol.statuses import statuses


@pytest.mark.parametrize(
    "damage",
    [
        ("SET", keys_of("bad")[0], "x"),
        ("HDEL", keys_of("bad")[0], "name"),
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
    planned_job(client, 4, name="j")
    Queue(client, "bad").create(parameters(name="bad"))
    client.delete(damage[1]) if damage[0] == "SET" else None
    client.execute_command(*damage)
    told = statuses(client, ["bad", "j", "absent"])
    assert told["absent"] is None
    assert told["j"]["job"]["phase"] == "running"
    if told["bad"] is not None:  # (without a phase the queue does not know it)
        assert told["bad"]["job"]["phase"] == "failed"
        assert told["bad"]["job"]["reason"] == "QueueDamaged"
    else:
        assert damage[0] == "HDEL"


def test_what_a_job_writes_to_its_own_keys_is_told_in_part(client, clock):
    """Who looks at all jobs must not die for memory of one."""
    worker = planned_job(client, 4)
    job, workers = keys_of("j")[0], keys_of("j")[10]
    client.hset(workers, "long", "x" * 70_000)
    client.hset(workers, "x" * 300, "{}")
    client.hset(job, mapping={"message": "x" * 1_000_000, "reason": "x" * 1_000_000})
    told = worker.queue.status()
    assert sorted(told["workers"]) == ["a", "long"]
    assert told["alive"] == 3
    assert (told["workers"]["a"], told["workers"]["long"]) == ('{"slots":1}', "{}")
    assert (len(told["job"]["message"]), len(told["job"]["reason"])) == (16_384, 1024)
    client.delete(workers)
    client.hset(workers, mapping={f"many{n}": "x" * 1000 for n in range(20_000)})
    told = worker.queue.status()
    assert len(told["workers"]) == 10_000
    assert sum(map(len, told["workers"].values())) <= (4 << 20) + 2 * 10_000


def test_many_jobs_that_tell_much_cost_whoever_looks_at_all_little(client, clock):
    """Each of them could have its workers tell 4 MiB, and all answers are there at once."""
    names = [f"j{n}" for n in range(12)]
    for name in names:
        Queue(client, name).create(parameters(name=name))
        client.hset(keys_of(name)[10], mapping={f"w{n}": '{"slots":2}' + " " * 60_000 for n in range(65)})
        client.hset(keys_of(name)[0], mapping=dict.fromkeys(("output", "stored", "digest"), "x" * 1_000_000))
    tracemalloc.start()
    told = statuses(client, names)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(told[name]["alive"] == 65 for name in names)
    assert peak < 4 << 20


def test_more_jobs_than_one_round_trip_has_are_all_told(client, clock):
    names = [f"j{n}" for n in range(130)]
    for name in names[::2]:
        Queue(client, name).create(parameters(name=name))
    told = statuses(client, names)
    assert list(told) == names
    assert [name for name in names if told[name] is not None] == names[::2]
    assert all(told[name]["job"]["name"] == name for name in names[::2])
    assert statuses(client, []) == {}


def test_what_a_server_that_is_busy_refuses_is_damage_to_no_job(client, server):
    """It refuses it for all."""
    planned_job(client, 4, name="j")
    client.config_set("busy-reply-threshold", 1)
    with server.connect() as another:
        busy = another.connection_pool.get_connection()
        busy.send_command("EVAL", "while true do end", 0)
        try:
            refused, until = None, time.monotonic() + 30
            while refused is None and time.monotonic() < until:
                try:
                    assert statuses(client, ["j"])["j"]["job"]["phase"] == "running"
                except ResponseError as error:
                    refused = error
            assert str(refused).startswith("BUSY")
        finally:
            client.script_kill()
        with pytest.raises(ResponseError, match="killed"):
            busy.read_response()
    client.config_set("busy-reply-threshold", 5000)
