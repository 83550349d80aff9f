"""A server that was rolled back by a crash: who is ahead of it is found out, and nothing is lost or counted twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from tests.protocol.harness import planned_job, read_raw

from gristmill.protocol.keys import keys_of
from gristmill.protocol.steps import Done, Fail

KEYS = keys_of("j")


@pytest.fixture
def remember(client: Redis) -> Callable[[], Callable[[], None]]:
    """Remember all keys; what is returned brings them back."""

    def take() -> Callable[[], None]:
        dumps = {key: client.dump(key) for key in KEYS}

        def back() -> None:
            client.delete(*KEYS)
            for key, dump in dumps.items():
                if dump is not None:
                    client.restore(key, 0, dump)

        return back

    return take


def done(lease: Any, start: int, upto: int, payload: bytes | None = None) -> Done:
    return Done(lease.nonce, upto, upto - start, payload=payload, start=start)


def test_a_holder_that_is_ahead_is_refused_and_what_it_holds_is_given_back(client, remember):
    worker = planned_job(client, 64, sink="queue")
    lease = worker.lease(3)
    back = remember()
    assert worker.report(done(lease, 0, 4, b"first")).accepted == [True]
    back()
    assert worker.report(done(lease, 4, 8, b"second")).accepted == [False]
    raw = read_raw(client)
    assert (raw.leases, raw.results, raw.number("settled")) == ({}, {}, 0)
    assert set(raw.pending) == {"0:8:0:0:0"}
    assert not worker.lease(3).careful


def test_a_failure_ahead_of_the_queue_gives_back_the_forgotten_commit(client, remember):
    worker = planned_job(client, 64)
    lease = worker.lease(3)
    back = remember()
    worker.report(done(lease, 0, 4))
    back()
    assert worker.report(Fail(lease.nonce, 4, "error", -1, 1, False, "{}")).accepted == [True]
    raw = read_raw(client)
    assert set(raw.pending) == {"0:4:0:0:0"}
    assert (raw.leases[lease.nonce]["start"], raw.units) == (5, {"4": 1})


def test_a_lease_that_was_forgotten_is_refused(client, remember):
    worker = planned_job(client, 64)
    back = remember()
    lease = worker.lease(3)
    back()
    assert worker.report(done(lease, 0, 8)).accepted == [False]
    assert worker.lease(3).nonce != lease.nonce


def test_what_the_reader_has_is_made_again_and_dropped(client, remember):
    worker = planned_job(client, 64, sink="queue")
    lease = worker.lease(2)
    back = remember()
    worker.report(done(lease, 0, 4, b"0123"))
    assert worker.queue.collect(0, 100).cursor == 4
    back()
    worker.queue.collect(4, 100)
    worker.report(done(lease, 0, 4, b"0123"))
    assert worker.queue.collect(4, 100).payloads == []
    assert read_raw(client).number("settled") == 4
    assert read_raw(client).results == {}


@pytest.mark.parametrize("reader_first", [True, False])
def test_a_piece_across_the_readers_cursor_is_made_again_in_two(client, remember, reader_first):
    worker = planned_job(client, 8, sink="queue")
    lease = worker.lease(2)
    back = remember()
    worker.report(done(lease, 0, 2, b"01"))
    assert worker.queue.collect(0, 100).payloads == [b"01"]
    back()  # the lease begins at 0 again, and the reader stands at 2
    if reader_first:
        worker.queue.collect(2, 100)
        assert worker.report(done(lease, 0, 4, b"0123")).accepted == [False]
    else:
        assert worker.report(done(lease, 0, 4, b"0123")).accepted == [True]
        assert worker.queue.collect(2, 100).payloads == []
        assert read_raw(client).number("items_done") == 0
    cursor, found = 2, b""
    while read_raw(client).phase == "running":
        again = worker.lease(3)
        assert not again.start < 2 < again.stop
        payload = "".join(map(str, range(again.start, again.stop))).encode()
        worker.report(done(again, again.start, again.stop, payload))
    while cursor < 8:
        got = worker.queue.collect(cursor, 100)
        found += b"".join(got.payloads)
        cursor = got.cursor
    assert found == b"234567"
    assert read_raw(client).number("items_done") == 8


def test_a_complete_job_whose_last_piece_lies_across_the_cursor_runs_again(client, remember):
    worker = planned_job(client, 4, sink="queue")
    lease = worker.lease(1)
    rest = [worker.lease() for _ in range(2)]
    back = remember()
    worker.report(done(lease, 0, 1, b"0"))
    worker.queue.collect(0, 100)
    back()
    worker.report(done(lease, 0, 2, b"01"), *[done(r, r.start, r.stop, b"x") for r in rest])
    assert read_raw(client).phase == "complete"
    worker.queue.collect(1, 100)
    assert read_raw(client).phase == "running"
    for start in (0, 1):
        again = worker.lease(3)
        assert (again.start, again.stop) == (start, start + 1)
        worker.report(done(again, start, start + 1, b"%d" % start))
    assert worker.queue.collect(1, 100).payloads == [b"1", b"x", b"x"]
    assert read_raw(client).phase == "complete"
