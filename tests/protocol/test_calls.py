"""Calls that come twice, too late, or in another form; and what goes on when memory is short."""

from __future__ import annotations

import math
import re
from typing import Any

import msgpack
import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError, ResponseError
from tests.protocol.harness import LEASE_MS, Worker, parameters, plan_data, planned_job, read_raw

from gristmill import settings
from gristmill.errors import QueueError
from gristmill.protocol.client import Queue
from gristmill.protocol.keys import keys_of
from gristmill.protocol.library import library
from gristmill.protocol.refusals import NoSuchJob
from gristmill.protocol.steps import ChoreDone, ChoreFailed, Done, Fail, Release

KEYS = keys_of("j")
LETTER = '{"kind":"error","attempts":1,"worker":"a","error":"x"}'


#: what a plan recovers of eight chunks where there is nothing
NOTHING: dict[str, Any] = {
    "pieces": [[0, 8]],
    "settled": 0,
    "items": 0,
    "blocks_done": 0,
    "blocks": [],
    "assemble": [],
    "splits": [],
    "dead": [],
}


def fcall(client: Redis, function: str, *args: Any) -> Any:
    return client.fcall(f"gristmill_{function}", len(KEYS), *KEYS, *args)


def raw_report(client: Redis, request: Any, *payloads: bytes, sequence: Any = 100, random: Any = 0.5) -> Any:
    packed = request if isinstance(request, bytes) else msgpack.packb(request)
    return fcall(client, "report", "a", sequence, 1, packed, random, *payloads)


def step_of(what: str, nonce: str, changed: dict[str, Any]) -> dict[str, Any]:
    steps = {
        "done": Done(nonce, 1, 1, start=0),
        "fail": Fail(nonce, 0, "error", -1, 1, False, "{}"),
        "release": Release(nonce),
        "chore": ChoreDone(nonce, {}),
        "chore_failed": ChoreFailed(nonce, "R", "m"),
    }
    return steps[what].to_wire([]) | changed


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\xc1",
        b"\x91",
        msgpack.packb(7),
        msgpack.packb([]),
        msgpack.packb({}),
        {"steps": 1},
        {"steps": [1]},
        {"steps": [{}]},
        {"steps": [{"what": "dance"}]},
        {"steps": [], "want": "3"},
        {"steps": [], "want": -1},
        {"steps": [], "want": 54},
        {"steps": [], "want": math.nan},
        {"steps": [], "want": 0.5},
        b"\x81" * 50_000,
    ],
)
def test_requests_of_another_form_are_refused_and_change_nothing(client, request_):
    worker = planned_job(client, 8)
    worker.lease(1)
    before = read_raw(client)
    with pytest.raises(ResponseError, match="BADREQUEST"):
        raw_report(client, request_)
    assert read_raw(client) == before


@pytest.mark.parametrize(
    ("what", "field", "value"),
    [
        ("done", "upto", 0.5),
        ("done", "upto", math.inf),
        ("done", "upto", math.nan),
        ("done", "upto", -1),
        ("done", "upto", 2**60),
        ("done", "upto", "1"),
        ("done", "upto", None),
        ("done", "items", -1),
        ("done", "items", 1e300),
        ("done", "direct", 1),
        ("done", "payload", 1),
        ("done", "payload", -1),
        ("done", "payload", 0.5),
        ("done", "start", -1),
        ("done", "nonce", 7),
        ("fail", "item", -2),
        ("fail", "items", math.nan),
        ("fail", "kind", None),
        ("fail", "letter", {}),
        ("fail", "chunk", "0"),
        ("fail", "final", "yes"),
        ("release", "lost", None),
        ("chore", "data", "x"),
        ("chore_failed", "missing", [1]),
        ("chore_failed", "missing", [[1]]),
        ("chore_failed", "message", 5),
    ],
)
def test_steps_of_another_form_are_refused_with_all_others_of_the_report(client, what, field, value):
    worker = planned_job(client, 8)
    good, other = worker.lease(), worker.lease()
    before = read_raw(client)
    steps = [step_of("done", good.nonce, {}), step_of(what, other.nonce, {field: value})]
    with pytest.raises(ResponseError, match="BADREQUEST"):
        raw_report(client, {"steps": steps, "want": 0})
    assert read_raw(client) == before


@pytest.mark.parametrize(
    "change",
    [
        {"chunks": -1},
        {"chunks": 2**54},
        {"chunks": 0.5},
        {"chunks": None},
        {"digest": 1},
        {"blocks": 3},
        {"block_height": 99},
        {"tolerated": math.nan},
        {"plan": None},
        {"finished": {}},
        {"recovered": {}},
        {"recovered": 1},
        {"recovered": NOTHING | {"pieces": [[0, 7]], "settled": 2}},
        {"recovered": NOTHING | {"splits": [[1, 2, 3], [4]]}},
        {"recovered": NOTHING | {"assemble": ["x"]}},
    ],
)
def test_a_plan_that_does_not_add_up_is_refused_and_the_chore_is_kept(client, change):
    Queue(client, "j").create(parameters())
    worker = Worker(client)
    lease = worker.lease()
    before = read_raw(client)
    with pytest.raises(QueueError, match="BADREQUEST"):
        worker.report(
            ChoreDone(lease.nonce, {k: v for k, v in (plan_data(8) | change).items() if v is not None})
        )
    assert read_raw(client) == before


@pytest.mark.parametrize("missing", [[(4, 5)], [(0, 5)], [(1, 1)], [(2, 3), (1, 2)], [(0, 2), (1, 3)]])
def test_missing_chunks_must_be_of_the_block_apart_and_in_order(client, missing):
    worker = planned_job(client, 8)
    for _ in range(8):
        lease = worker.lease()
        if lease.chore:
            break
        worker.report(Done(lease.nonce, lease.stop, 1, start=lease.start))
    assert lease.chore == "assemble:0"
    with pytest.raises(QueueError, match="BADREQUEST"):
        worker.report(ChoreFailed(lease.nonce, "PartsMissing", "", missing=missing))
    assert worker.report(ChoreFailed(lease.nonce, "PartsMissing", "", missing=[(0, 1), (2, 4)])).accepted == [
        True
    ]
    raw = read_raw(client)
    assert raw.blocks == {"0": 1}
    assert raw.number("settled") == 1


def test_blocks_that_are_gone_at_the_end_are_assembled_again(client):
    worker = planned_job(client, 8)
    for _ in range(20):
        lease = worker.lease()
        if lease.chore == "finish":
            break
        worker.report(
            ChoreDone(lease.nonce, {}) if lease.chore else Done(lease.nonce, lease.stop, 1, start=lease.start)
        )
    assert lease.chore == "finish"
    for missing in ([(0, 3)], [(1, 4)], [(4, 8), (0, 4)], [(0, 4), (0, 4)], [(8, 12)]):
        with pytest.raises(QueueError, match="BADREQUEST"):
            worker.report(ChoreFailed(lease.nonce, "PartsMissing", "", missing=missing))
    assert worker.report(ChoreFailed(lease.nonce, "PartsMissing", "", missing=[(4, 8)])).accepted == [True]
    raw = read_raw(client)
    assert (raw.number("blocks_done"), raw.number("settled")) == (1, 8)
    assert worker.lease().chore == "assemble:1"


def test_a_chore_that_is_held_is_work_that_there_is(client):
    """Whoever counts workers would stop the one that has it."""
    Queue(client, "j").create(parameters())
    worker = Worker(client)
    assert worker.lease().chore == "plan"
    told = worker.queue.status()
    assert (told["chores"], told["ready"], told["leased"]) == (1, 0, 0)


@pytest.mark.parametrize("function", ["hello", "heartbeat"])
@pytest.mark.parametrize(
    "info",
    ["", "{", "[]", "5", "null", "{}", '{"slots":null}', '{"slots":-1}', '{"slots":0.5}', '{"slots":1e99}'],
)
def test_what_a_worker_tells_of_itself_must_be_of_the_form(client, function, info):
    planned_job(client, 1)
    before = read_raw(client)
    args = ("b", info) if function == "hello" else ("b", 1, info, msgpack.packb({}))
    with pytest.raises(ResponseError, match="BADREQUEST"):
        fcall(client, function, *args)
    assert read_raw(client) == before


@pytest.mark.parametrize(
    "current",
    [
        b"",
        b"\xc1",
        msgpack.packb([1]),
        msgpack.packb({"n": "x"}),
        msgpack.packb({"n": -1}),
        msgpack.packb({1: 1}),
    ],
)
def test_what_runs_now_must_be_of_the_form(client, current):
    planned_job(client, 1)
    with pytest.raises(ResponseError, match="BADREQUEST"):
        fcall(client, "heartbeat", "a", 1, '{"slots":1}', current)


def test_without_the_job_every_function_says_so(client):
    queue = Queue(client, "nobody")
    calls = [
        lambda: queue.hello("a", {"slots": 1}),
        lambda: queue.report("a", 1, [], 0),
        lambda: queue.heartbeat("a", 1, {"slots": 1}, {}),
        lambda: queue.collect(0, 1),
        lambda: queue.configure({"keep": 1}),
        lambda: queue.suspend(True),
        lambda: queue.retry([]),
        queue.status,
        lambda: queue.bye("a", lost=True),
        lambda: queue.fail_job(1, "r", "m"),
        lambda: queue.claim_code(1, {}, accept=False),
    ]
    for call in calls:
        with pytest.raises(NoSuchJob):
            call()
    assert client.keys("gristmill*") == []


def test_without_the_functions_the_queue_has_lost_its_memory(client):
    client.function_flush()
    with pytest.raises(NoSuchJob):
        Queue(client, "j").status()


def test_too_few_keys_are_refused(client):
    for function in ("report", "create", "status"):
        with pytest.raises(ResponseError, match="BADREQUEST"):
            client.fcall(f"gristmill_{function}", 2, *KEYS[:2], "a")


def test_a_job_is_created_once(client):
    queue = Queue(client, "j")
    assert queue.create(parameters())
    assert not queue.create(parameters(epoch=9))
    assert queue.status()["job"]["epoch"] == "1"


def test_the_code_is_that_of_who_loads_a_module_first_or_what_is_accepted(client):
    queue = Queue(client, "j")
    queue.create(parameters())
    told = [
        ({"a": "1", "b": "1"}, False, ""),
        ({"a": "1", "c": "1"}, False, ""),
        ({"c": "2", "b": "2", "d": "2"}, False, "b"),
        ({"d": "1"}, False, ""),
        ({"b": "2"}, True, ""),
        ({"b": "1"}, False, "b"),
        ({"b": "2"}, False, ""),
    ]
    for code, accept, changed in told:
        assert queue.claim_code(1, code, accept=accept) == changed
    assert queue.claim_code(0, {"a": "2"}, accept=True) == "", "who is of an old epoch is told so by all else"
    assert queue.claim_code(1, {"a": "1"}, accept=False) == ""
    with pytest.raises(QueueError, match="BADREQUEST"):
        queue.claim_code(1, {"a": 1}, accept=False)


def test_a_former_versions_functions_can_not_tell_of_code(client):
    queue = Queue(client, "j")
    queue.create(parameters())
    former = re.sub(r"define\('code'.*?\nend, 'allow-oom'\)", "", library(), flags=re.DOTALL)
    client.function_load(former, replace=True)
    assert queue.claim_code(1, {"a": "1"}, accept=False) == ""
    assert queue.status()["job"]["epoch"] == "1"


def test_a_plan_that_comes_second_is_refused(client, clock):
    """The job failed while it was planned and was tried again: the plan is then held twice."""
    queue = Queue(client, "j")
    queue.create(parameters())
    first, second = Worker(client, "a"), Worker(client, "b")
    early = first.lease()
    queue.fail_job(1, "DeadlineExceeded", "")
    assert first.report(ChoreDone(early.nonce, plan_data(8))).accepted == [False], (
        "a job that failed stays failed"
    )
    queue.retry([])
    late = second.lease()
    assert second.report(ChoreDone(late.nonce, plan_data(8))).accepted == [True]
    assert read_raw(client).phase == "running"
    assert "plan" not in read_raw(client).chores


def test_a_forgotten_worker_holds_nothing_that_a_repetition_could_touch(client, clock):
    worker = planned_job(client, 8)
    worker.lease(2)
    words = ("report", "a", 99, 1, msgpack.packb({"steps": [], "want": 0}), 0.5)
    first = fcall(client, *words)
    clock.advance(3 * LEASE_MS + 1)
    other = Worker(client, "b")
    other.report()
    assert set(read_raw(client).replies) == {"b"}
    assert fcall(client, *words) != first
    assert len(read_raw(client).leases) == 1


def test_reports_alone_keep_a_worker_in_memory(client, clock):
    worker = planned_job(client, 8)
    other = Worker(client, "b")
    for _ in range(10):
        clock.advance(LEASE_MS)
        worker.report()
        other.report()
    assert set(read_raw(client).replies) == {"a", "b"}


def test_when_memory_is_short_a_report_is_refused_whole_and_what_frees_memory_goes_on(client, monkeypatch):
    monkeypatch.setattr(settings, "RECONNECT_SECONDS", 0)
    worker = planned_job(client, 64, sink="queue")
    lease, other = worker.lease(2), worker.lease(0)
    worker.report(Done(lease.nonce, 1, 1, payload=b"x" * 1000, start=0))
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            client.set("x", "y")
        before = read_raw(client)
        with pytest.raises(QueueError, match="does not answer"):
            worker.report(Done(lease.nonce, 4, 3, payload=b"y", start=1), want=3)
        assert read_raw(client) == before
        assert worker.beat(lease).gone == []
        assert worker.queue.collect(0, 10).payloads == [b"x" * 1000]
        assert worker.queue.collect(1, 10).payloads == []
        assert read_raw(client).results == {}
        worker.queue.suspend(True)
        assert worker.queue.status()["job"]["stored"] == "0"
        assert worker.queue.bye("a", lost=True) == 2
        assert worker.queue.fail_job(1, "Stopped", "")
    finally:
        client.config_set("maxmemory", 0)
    assert read_raw(client).leases == {}
    assert other.start == 4


def test_results_are_bytes_and_messages_may_be_cut_anywhere(client):
    worker = planned_job(client, 1, sink="queue")
    lease = worker.lease()
    worker.report(Done(lease.nonce, 1, 1, payload=b"\xff\x00\xfe", start=0))
    assert worker.queue.collect(0, 1).payloads == [b"\xff\x00\xfe"]
    worker.queue.remove()
    worker = planned_job(client, 1)
    worker.queue.fail_job(1, "R", "é" * 4000 + "x")
    worker.queue.configure({"name": b"\xff"})  # type: ignore[dict-item]
    assert worker.queue.status()["job"]["message"].startswith("éé")


def test_a_message_in_the_history_may_be_cut_anywhere(client):
    Queue(client, "j").create(parameters())
    worker = Worker(client)
    worker.report(ChoreFailed(worker.lease().nonce, "R", "x" + "é" * 4000))
    assert worker.queue.history()[-1][1]["message"].startswith("xéé")


@pytest.mark.parametrize("chunks", [10**12, 2**53])
def test_numbers_stay_whole_up_to_2_to_the_53(client, chunks):
    worker = planned_job(client, chunks, block_height=43)
    client.hset(KEYS[0], mapping={"next": chunks - 3, "settled": chunks - 3, "open": 3})
    found = [worker.lease(20) for _ in range(3)]
    assert [(lease.start, lease.stop) for lease in found] == [(chunks - n, chunks - n + 1) for n in (3, 2, 1)]
    worker.report(*[Done(f.nonce, f.stop, 1, start=f.start) for f in found[:2]])
    worker.report(Fail(found[2].nonce, chunks - 1, "error", -1, 2**53, True, LETTER))
    raw = read_raw(client)
    assert raw.number("settled") == chunks
    assert list(raw.dead) == [f"{chunks - 1}:-1"]
    assert not [value for value in raw.job.values() if "e+" in value]


@pytest.mark.parametrize("share", [(0, 2), (0, 3), (2, 4)])
def test_a_block_is_not_taken_for_complete_by_less_than_all_of_it(client, share):
    worker = planned_job(client, 8)
    lease = worker.lease(2)
    if share[0]:
        worker.report(Done(lease.nonce, share[0], 2, start=0))
    direct = Done(lease.nonce, share[1], 2, direct=True, start=share[0])
    assert worker.report(direct).accepted == [False]
    assert read_raw(client).number("blocks_done") == 0
