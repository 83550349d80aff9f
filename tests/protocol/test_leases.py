"""Who gets which interval, and what becomes of it: back-off, heights, halving, isolation, budgets."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from tests.protocol.harness import LEASE_MS, Clock, Worker, planned_job, read_raw

from gristmill.protocol.client import Queue
from gristmill.protocol.steps import Done, Fail, Release, Trim


def fail(nonce: str, chunk: int, item: int = -1, items: int = 1, final: bool = False) -> Fail:
    return Fail(
        nonce, chunk, "error", item, items, final, '{"kind":"error","attempts":1,"worker":"a","error":"x"}'
    )


def done(lease, upto: int | None = None) -> Done:
    stop = lease.stop if upto is None else upto
    return Done(lease.nonce, stop, stop - lease.start, start=lease.start)


@pytest.mark.parametrize("attempt", range(1, 8))
def test_backoff_doubles_up_to_its_bound_with_jitter_down_to_half(client: Redis, clock: Clock, attempt: int):
    worker = planned_job(client, 1, attempts=100, backoff_ms=100, backoff_max_ms=1500)
    waits = []
    for _ in range(attempt):
        lease = worker.lease()
        worker.report(fail(lease.nonce, 0))
        due = next(iter(read_raw(client).delayed.values()))
        waits.append(due - clock.now)
        clock.advance(2000)
    whole = min(1500, 100 * 2 ** (attempt - 1))
    assert whole / 2 <= waits[-1] <= whole


def test_a_retry_is_not_leased_before_its_time(client: Redis, clock: Clock):
    worker = planned_job(client, 1, backoff_ms=1000, backoff_max_ms=1000)
    assert worker.report(fail(worker.lease().nonce, 0), want=0).lease is None
    clock.advance(499)
    assert worker.report(want=0).lease is None
    clock.advance(501)
    worker.report(want=0)  # brings it back; a lease is looked for after that
    assert read_raw(client).leases


@pytest.mark.parametrize(
    ("slots", "chunks", "want", "size"),
    [
        (1, 64, 3, 8),
        (1, 64, 10, 32),
        (4, 64, 10, 8),
        (64, 64, 10, 1),
        (1, 1, 10, 1),
        (1, 3, 10, 1),
        (1, 1 << 40, 24, 1 << 24),
    ],
)
def test_the_height_is_at_most_a_fair_share_of_what_is_open(client, slots, chunks, want, size):
    planned_job(client, chunks, block_height=35)
    Queue(client, "j").bye("a", lost=False)
    lease = Worker(client, "b", slots=slots).lease(want)
    assert (lease.start, lease.stop) == (0, size)


def test_leases_are_aligned_and_sink_towards_the_end(client):
    worker = planned_job(client, 100, block_height=3)
    sizes = []
    while (lease := worker.report(want=5).lease) is not None:
        size = lease.stop - lease.start
        assert lease.start % size == 0
        assert size & (size - 1) == 0
        sizes.append(size)
    assert sum(sizes) == 100
    assert sizes[0] == 32
    assert sizes[-1] == 1


def test_the_last_interval_is_clipped_at_the_number_of_chunks(client):
    worker = planned_job(client, 9, block_height=3)
    worker.report(done(worker.lease(2)))
    assert [worker.lease(9).stop for _ in range(3)] == [6, 7, 8]


def test_a_lost_interval_is_whole_once_then_halved_then_its_last_chunk_is_dead(client, clock):
    worker = planned_job(client, 16, block_height=4, infrastructure=3)
    seen = []
    while read_raw(client).number("dead") == 0:
        lease = worker.lease(3)
        seen.append((lease.start, lease.stop, lease.careful))
        worker.report(Release(lease.nonce, lost=True))
    assert seen == [(0, 8, False), (0, 8, True), (0, 4, True), (0, 2, True), *[(0, 1, True)] * 3]
    raw = read_raw(client)
    assert list(raw.dead) == ["0:-1"]
    assert sorted(m for m in raw.pending if m.startswith(("1:", "2:", "4:"))) == [
        "1:2:0:0:1",
        "2:4:0:0:3",
        "4:8:0:0:2",
    ]


def lost_twice(client: Redis, **parameters: Any) -> Worker:
    """Return the worker of a job whose first eight chunks were lost twice: they are two intervals now."""
    worker = planned_job(client, 16, block_height=4, **parameters)
    for _ in range(2):
        worker.report(Release(worker.lease(3).nonce, lost=True))
    return worker


def losses(client: Redis, *bounds: int) -> int:
    """Return what is charged to a unit that waits."""
    raw = read_raw(client)
    units = [tuple(map(int, member.split(":"))) for member in (*raw.pending, *raw.delayed)]
    (found,) = [unit[4] for unit in units if unit[: len(bounds)] == bounds]
    return found


def test_a_chunk_that_fails_in_an_interval_is_not_charged_its_losses(client, clock):
    worker = lost_twice(client)
    worker.report(fail(worker.lease(2).nonce, 0))
    assert losses(client, 0, 1) == 1


def test_a_chunk_before_one_that_fails_is_not_charged_the_losses_of_their_interval(client, clock):
    worker = lost_twice(client)
    worker.report(fail(worker.lease(2).nonce, 1))
    assert losses(client, 0, 1) == 1


def test_a_chunk_that_is_given_back_with_others_is_not_charged_their_losses(client, clock):
    worker = lost_twice(client)
    lease = worker.lease(2)
    worker.report(done(lease, 1), Release(lease.nonce))
    assert losses(client, 1, 2) == 1
    assert losses(client, 2, 4) == 2


def test_a_chunk_that_is_left_of_a_lease_is_not_charged_the_losses_of_the_others(client, clock):
    worker = lost_twice(client)
    lease = worker.lease(2)
    worker.report(done(lease, 3), Release(lease.nonce))
    assert losses(client, 3, 4) == 1


def test_a_chunk_whose_tail_was_given_back_is_not_charged_the_losses_of_the_others(client, clock):
    worker = lost_twice(client)
    lease = worker.lease(2)
    worker.report(Trim(lease.nonce, 1), Release(lease.nonce))
    assert losses(client, 0, 1) == 1


def test_items_are_not_charged_the_losses_of_their_chunk(client, clock):
    worker = planned_job(client, 1, attempts=1, isolate=1)
    for _ in range(3):
        worker.report(Release(worker.lease().nonce, lost=True))
    worker.report(fail(worker.lease().nonce, 0, item=1, items=4))
    assert losses(client, 0, 1, 0, 1) == 1
    assert losses(client, 0, 1, 2, 4) == 3


def test_a_chunk_is_not_dead_of_what_the_interval_lost_that_it_was_in(client, clock):
    worker = planned_job(client, 16, infrastructure=2)
    for _ in range(2):
        worker.report(Release(worker.lease(2).nonce, lost=True))
    lease = worker.lease(2)
    assert (lease.start, lease.stop) == (0, 2)
    worker.report(fail(lease.nonce, 1))
    worker.report(Release(worker.lease().nonce, lost=True))
    assert read_raw(client).dead == {}, "alone, it was lost once"
    worker.report(Release(worker.lease().nonce, lost=True))
    assert '"attempts":3' in read_raw(client).dead["0:-1"]


def test_a_chunk_that_is_cut_off_at_the_reader_is_not_charged_the_losses_of_its_interval(client, clock):
    worker = lost_twice(client, sink="queue")
    worker.queue.collect(1, 1)
    lease = worker.lease(2)
    assert (lease.start, lease.stop) == (0, 1)
    assert read_raw(client).leases[lease.nonce]["losses"] == 1
    assert losses(client, 1, 2) == 1


def test_a_trim_that_takes_nothing_away_forgives_no_loss(client, clock):
    worker = planned_job(client, 1, infrastructure=9)
    for _ in range(3):
        worker.report(Release(worker.lease().nonce, lost=True))
    lease = worker.lease()
    assert worker.report(Trim(lease.nonce, 1)).accepted == [True]
    assert read_raw(client).leases[lease.nonce]["losses"] == 3


@pytest.mark.parametrize("chunk", [0, 1])
def test_a_chunk_that_is_lost_too_often_is_isolated_where_the_plan_knows_its_items(client, clock, chunk):
    worker = planned_job(
        client,
        2,
        infrastructure=2,
        isolate=1,
        plan={"chunk_items": 10, "last_chunk_items": 7},
    )
    items = (10, 7)[chunk]
    poison = items // 2
    ran = 0
    while read_raw(client).phase == "running" and (lease := worker.report(want=0).lease) and not lease.chore:
        ran += 1
        low, high = (lease.low, lease.high) if lease.is_fragment else (0, (10, 7)[lease.start])
        if lease.start == chunk and low <= poison < high:
            assert lease.careful or not lease.is_fragment
            worker.report(Release(lease.nonce, lost=True))
        else:
            worker.report(Done(lease.nonce, lease.start + 1, high - low, start=lease.start))
    raw = read_raw(client)
    assert list(raw.dead) == [f"{chunk}:{poison}"]
    assert raw.number("items_done") == 10 + 7 - 1
    assert ran <= 2 + 3 * items.bit_length() + 3


def test_a_lost_chunk_that_is_not_isolated_counts_its_items(client, clock):
    worker = planned_job(client, 1, infrastructure=1, plan={"chunk_items": 10, "last_chunk_items": 7})
    for _ in range(2):
        worker.report(Release(worker.lease().nonce, lost=True))
    raw = read_raw(client)
    assert raw.dead["0:-1"].startswith("7 ")
    assert raw.number("items_dead") == 7


def test_what_was_only_waiting_is_never_charged(client, clock):
    worker = planned_job(client, 8)
    lease = worker.lease(2)
    for _ in range(10):
        worker.report(Release(lease.nonce))
        lease = worker.lease(2)
        assert lease.attempt == 1
        assert not lease.careful


@pytest.mark.parametrize("items", [1, 2, 5, 8, 13])
def test_without_a_known_culprit_a_chunk_is_halved_until_each_poison_item_is_alone(client, clock, items):
    poison = {items // 2}
    worker = planned_job(client, 1, attempts=1, isolate=1)
    ran = 0
    while read_raw(client).phase == "running" and (lease := worker.report(want=0).lease) and not lease.chore:
        low, high = (lease.low, lease.high) if lease.is_fragment else (0, items)
        ran += 1
        if poison & set(range(low, high)):
            worker.report(fail(lease.nonce, 0, items=high - low))
        else:
            worker.report(Done(lease.nonce, 1, high - low, start=0))
    raw = read_raw(client)
    assert set(raw.dead) == {f"0:{item}" for item in poison}
    assert raw.number("items_done") == items - 1
    assert ran <= 1 + 3 * items.bit_length()


def test_a_known_culprit_is_buried_at_once_and_its_neighbours_go_on_uncharged(client, clock):
    worker = planned_job(client, 1, attempts=1, isolate=1)
    worker.report(fail(worker.lease().nonce, 0, item=5, items=1000))
    raw = read_raw(client)
    assert set(raw.dead) == {"0:5"}
    assert raw.units == {}
    assert sum(int(m.split(":")[3]) - int(m.split(":")[2]) for m in raw.pending) == 999
    assert raw.splits == {"0": 999, "n:0": 1000, "d:0": 1}


def test_fragments_are_isolated_even_if_isolation_was_switched_off_meanwhile(client, clock):
    worker = planned_job(client, 1, attempts=1, isolate=1)
    worker.report(fail(worker.lease().nonce, 0, items=4))
    worker.queue.configure({"isolate": 0})
    worker.report(fail(worker.lease().nonce, 0, items=2))
    worker.report(fail(worker.lease().nonce, 0))
    raw = read_raw(client)
    assert raw.splits["0"] == 3
    assert raw.number("dead") == 1


def test_without_isolation_the_whole_chunk_is_dead_with_its_number_of_items(client, clock):
    worker = planned_job(client, 2, attempts=1)
    worker.report(fail(worker.lease().nonce, 0, item=3, items=7))
    raw = read_raw(client)
    assert raw.dead["0:-1"].startswith("7 {")
    assert raw.number("items_dead") == 7


def test_one_more_dead_letter_than_is_tolerated_fails_the_job(client, clock):
    worker = planned_job(client, 5, attempts=1, plan={"tolerated": 1})
    worker.report(fail(worker.lease().nonce, 0))
    assert read_raw(client).phase == "running"
    other = worker.lease()
    worker.report(fail(worker.lease().nonce, 2))
    raw = read_raw(client)
    assert (raw.phase, raw.job["reason"]) == ("failed", "TooManyFailures")
    assert worker.report(done(other), want=0).accepted == [True], "what is done already is not thrown away"


def test_letters_beyond_the_bound_keep_their_place_and_number(client, clock):
    worker = planned_job(client, 4, attempts=1, keep=2)
    for chunk in range(4):
        worker.report(fail(worker.lease().nonce, chunk, items=3))
    letters = list(worker.queue.dead_letters())
    assert [(d.chunk, d.item, d.items, d.kind) for d in letters] == [
        (0, -1, 3, "error"),
        (1, -1, 3, "error"),
        (2, -1, 3, "unknown"),
        (3, -1, 3, "unknown"),
    ]
    assert worker.queue.retry([]) == 4
    raw = read_raw(client)
    assert (raw.number("items_dead"), raw.number("dead"), raw.number("open")) == (0, 0, 4)


def test_a_failure_gives_back_what_was_not_committed_below_it(client, clock):
    worker = planned_job(client, 32, block_height=3, attempts=1)
    lease = worker.lease(3)
    assert worker.report(fail(lease.nonce, 5)).accepted == [True]
    raw = read_raw(client)
    assert set(raw.pending) == {"0:4:0:0:0", "4:5:0:0:0"}
    assert (raw.leases[lease.nonce]["start"], raw.leases[lease.nonce]["stop"]) == (6, 8)


def test_the_holder_of_the_longest_tail_is_asked_when_nothing_is_left(client, clock):
    holder = planned_job(client, 64, block_height=3)
    lease = holder.lease(4)
    short = [holder.lease(0) for _ in range(48)]
    idle = Worker(client, "idle")
    assert idle.report(want=3).lease is None
    assert holder.beat(lease, *short).asked == [lease.nonce]
    holder.report(Trim(lease.nonce, 8))
    assert idle.lease(3).start == 8
    assert holder.beat(lease).asked == []


def test_a_holder_with_one_chunk_left_is_asked_for_no_tail(client, clock):
    holder = planned_job(client, 64, block_height=3)
    lease = holder.lease(4)
    short = [holder.lease(0) for _ in range(64 - lease.stop)]
    assert Worker(client, "idle").report(want=3).lease is None
    assert holder.beat(lease, *short).asked == [lease.nonce]
    assert holder.report(done(lease, lease.stop - 1)).accepted == [True]
    assert holder.beat(lease).asked == []


def test_nobody_but_the_holder_may_speak_for_a_lease(client, clock):
    holder = planned_job(client, 4)
    lease = holder.lease()
    thief = Worker(client, "thief")
    assert thief.report(done(lease)).accepted == [False]
    assert thief.beat(lease).gone == [lease.nonce]
    assert holder.report(done(lease)).accepted == [True]


@pytest.mark.parametrize("name", ["w", "l", "w:1", "a:b", "@", "é"])
def test_any_name_of_a_worker_will_do(client, clock, name):
    planned_job(client, 4)
    worker = Worker(client, name)
    lease = worker.lease()
    clock.advance(LEASE_MS + 1)
    assert Worker(client, "other").lease().start == lease.start


def test_a_chore_that_kills_its_workers_fails_the_job(client, clock):
    queue = planned_job(client, 0, infrastructure=2).queue
    for number in range(3):
        worker = Worker(client, f"victim-{number}")
        assert worker.lease().chore == "finish"
        queue.bye(worker.name, lost=True)
    raw = read_raw(client)
    assert (raw.phase, raw.job["reason"]) == ("failed", "WorkerLost")


def test_attempts_of_a_fragment_are_forgotten_when_it_is_halved(client, clock):
    worker = planned_job(client, 1, attempts=2, isolate=1)
    for _ in range(2):
        worker.report(fail(worker.lease().nonce, 0, items=8))
        clock.advance(2000)
        worker.report()
    worker.report(fail(worker.lease().nonce, 0, items=4))
    assert read_raw(client).units == {"0:0:4": 1}
    clock.advance(2000)
    worker.report()
    for _ in range(2):
        worker.report(Release(worker.lease().nonce, lost=True))
    raw = read_raw(client)
    assert raw.units == {}
    assert set(raw.pending) == {"0:1:0:2:2", "0:1:2:4:2", "0:1:4:8:0"}


def test_many_intervals_are_leased_at_once_up_to_a_fair_share(client: Redis):
    worker = planned_job(client, 64)
    leases = worker.report(want=1, most=5).leases
    assert [(lease.start, lease.stop) for lease in leases] == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    first = leases[0].nonce
    assert [lease.nonce for lease in leases] == [first, *(f"{first}:{i}" for i in range(1, 5))]
    assert sum(lease.stop - lease.start for lease in worker.report(want=3, most=100).leases) < 27 + 8
    assert worker.report(*(done(lease) for lease in leases)).accepted == [True] * 5


def test_a_chore_is_leased_alone(client: Redis):
    Queue(client, "j").create({"epoch": 1, "lease_ms": 1000, "sink": "queue", "name": "j", "spec": "{}"})
    assert [lease.chore for lease in Worker(client).report(want=3, most=10).leases] == ["plan"]


@pytest.mark.parametrize("sink", ["queue", "url"])
@pytest.mark.parametrize("isolate", [0, 1])
def test_one_failure_too_many_ends_the_job_even_if_it_is_the_last_to_be_settled(client, clock, sink, isolate):
    worker = planned_job(client, 2, sink=sink, isolate=isolate, attempts=1, plan={"tolerated": 0})
    first, second = worker.lease(), worker.lease()
    worker.report(Done(second.nonce, 2, 1, start=1))
    worker.report(fail(first.nonce, 0, items=1))
    raw = read_raw(client)
    assert (raw.phase, raw.job["reason"]) == ("failed", "TooManyFailures")
    assert raw.number("settled") == 2


def test_a_holder_that_is_at_its_last_chunk_is_asked_for_no_tail(client, clock):
    """It has not told of the others yet."""
    holder = planned_job(client, 64, block_height=3)
    lease = holder.lease(4)
    short = [holder.lease(0) for _ in range(64 - lease.stop)]
    assert Worker(client, "idle").report(want=3).lease is None
    assert holder.beat(lease, *short).asked == [lease.nonce]
    assert holder.beat(**{lease.nonce: lease.stop - 1}).asked == []
    assert holder.beat(**{lease.nonce: lease.stop - 2}).asked == [lease.nonce]
