"""What the operator makes of what its watches and its lists tell."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import kopf
import pytest
from kopf._cogs.structs.references import Resource
from tests.builders import file_volume
from tests.unit.fake_api import FakeApi
from tests.unit.reconcile_builders import SETTINGS, job_of, resource
from tests.unit.reconcile_builders import told as queue_says

from gristmill.controllers import operating
from gristmill.controllers.cluster import ApiError, Cluster
from gristmill.controllers.config import Config
from gristmill.controllers.operating import Operator
from gristmill.controllers.work_queue import WorkQueue
from gristmill.errors import QueueError
from gristmill.reconcilers.times import text_of


def config(*watch: str) -> Config:
    return Config(
        namespace="home",
        identity="pod",
        watch=watch,
        key=b"key",
        valkey_image="valkey:1",
        queue_cache="queue",
        queue_capacity="512Mi",
        queue_size="",
        queue_class="",
        jobs=SETTINGS,
    )


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def operator(api: FakeApi) -> Operator:
    return Operator(config(), Cluster(api))


def mill(name: str = "job", namespace: str = "here", uid: str = "0b1e") -> dict[str, Any]:
    found = resource()
    found["metadata"] |= {"name": name, "namespace": namespace, "uid": uid}
    return found


def told(operator: Operator, kind: str, found: dict[str, Any], event: str = "MODIFIED") -> None:
    asyncio.run(operator._on(kind)({"type": event, "object": found}))


def test_it_begins_with_what_there_is(api: FakeApi, operator: Operator) -> None:
    api.add("ChunkJob", mill())
    api.add("Job", job_of(mill()))
    foreign = job_of(mill())
    foreign["metadata"] |= {"name": "foreign", "labels": {}}
    api.add("Job", foreign)
    asyncio.run(operator._list_all())
    assert [found["metadata"]["name"] for found in operator.world.all("Job")] == ["job-workers"]
    assert len(operator.job_queue) == 1


def test_what_has_gone_while_nobody_told_is_forgotten(api: FakeApi, operator: Operator) -> None:
    told(operator, "ChunkJob", api.add("ChunkJob", mill()))
    told(operator, "Job", api.add("Job", job_of(mill())))
    operator.jobs.told["0b1e"] = None
    api.objects.clear()
    asyncio.run(operator._drop_missing())
    assert (operator.world.all("ChunkJob"), operator.world.all("Job"), operator.jobs.told) == ([], [], {})


def test_what_was_written_when_it_had_no_labels_any_more_is_forgotten_too(operator: Operator) -> None:
    bare = job_of(mill())
    bare["metadata"] |= {"uid": "j", "resourceVersion": "3", "labels": {}}
    operator.world.put("Job", bare)
    asyncio.run(operator._drop_missing())
    assert operator.world.all("Job") == []


def test_a_namespace_that_may_not_be_listed_keeps_no_other_waiting(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    operator = Operator(config("here", "lost"), Cluster(api))
    api.add("ChunkJob", mill())
    told(operator, "ChunkJob", mill("other", "lost", "0b1f"))
    api.refusals["GET /apis/gristmill.dev/v1alpha1/namespaces/lost"] = (403, "you may not")
    asyncio.run(operator._list_all())
    asyncio.run(operator._drop_missing())
    assert len(operator.world.all("ChunkJob")) == 2
    assert (operator.fault(), caplog.text.count("lost is watched, and may not be")) == ("", 1)


@pytest.mark.parametrize(("watch", "place"), [((), ""), (("home", "lost"), "/namespaces/home")])
def test_an_operator_that_may_not_watch_what_it_needs_is_started_again(
    api: FakeApi, watch: tuple[str, ...], place: str
) -> None:
    operator = Operator(config(*watch), Cluster(api))
    api.refusals[f"GET /apis/apps/v1{place}"] = (403, "you may not")
    with pytest.raises(ApiError):
        asyncio.run(operator._list_all())
    assert operator.fault() == "you may not"
    api.refusals.clear()
    asyncio.run(operator._list_all())
    assert operator.fault() == ""


def test_what_may_not_be_watched_is_soon_looked_at_again(
    api: FakeApi, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API server that has just started refuses what it does not know yet."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            api.refusals.clear()
        if len(pauses) == 3:
            raise asyncio.CancelledError

    api.refusals["GET /apis/apps/v1"] = (403, "RBAC is not there yet")
    monkeypatch.setattr("gristmill.controllers.operating.asyncio.sleep", sleep)
    operator._listed.set()
    with suppress(asyncio.CancelledError):
        asyncio.run(operator._resync())
    assert pauses == [2.0, 2.0, 60.0]


def test_a_write_to_what_is_gone_forgets_it(api: FakeApi, operator: Operator) -> None:
    """Whatever was to be written: here the finalizer."""
    found = mill()
    found["metadata"]["finalizers"] = []
    told(operator, "ChunkJob", found)
    operator.queue.asked = True
    assert asyncio.run(operator.jobs.reconcile(("here", "job"))) is not None
    assert operator.world.all("ChunkJob") == []
    assert asyncio.run(operator.jobs.reconcile(("here", "job"))) is None


def test_a_status_that_was_decided_of_an_older_version_is_decided_again(
    api: FakeApi, operator: Operator
) -> None:
    told(operator, "ChunkJob", api.add("ChunkJob", mill()))
    changed = api.add("ChunkJob", mill())
    operator.queue.asked = True
    assert asyncio.run(operator.jobs.reconcile(("here", "job"))) == pytest.approx(0.2)
    assert "status" not in api.all("ChunkJob")[0]
    told(operator, "ChunkJob", changed)
    asyncio.run(operator.jobs.reconcile(("here", "job")))
    assert api.all("ChunkJob")[0]["status"]["state"] == "Pending"


def test_a_job_whose_labels_were_taken_away_gets_them_back(api: FakeApi, operator: Operator) -> None:
    """The watch tells that it is gone, which it is not."""
    told(operator, "ChunkJob", api.add("ChunkJob", mill()))
    made = api.add("Job", job_of(mill()))
    told(operator, "Job", made)
    told(operator, "Job", made, "DELETED")
    api.objects["Job", "here", "job-workers"]["metadata"]["labels"] = {}
    operator.queue.asked = operator.queue.answers = True
    operator.jobs.told["0b1e"] = queue_says(workers=0)
    asyncio.run(operator.jobs.reconcile(("here", "job")))
    assert operator.world.all("Job") == api.all("Job")
    assert api.all("Job")[0]["metadata"]["labels"]["gristmill.dev/uid"] == "0b1e"


def test_watches_are_for_what_has_the_operators_labels(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy cluster the API server must not send what is other people's."""
    given: list[kopf.OperatorSettings] = []

    async def run(settings: kopf.OperatorSettings, **_: Any) -> None:
        given.append(settings)

    monkeypatch.setattr(kopf, "operator", run)
    asyncio.run(operator._watch(asyncio.Event()))
    chosen = {
        kind: [*given[0].watching.label_selectors.collect(Resource(*path))]
        for kind, path in operating._RESOURCES.items()
    }
    ours = "gristmill.dev/chunkjob,gristmill.dev/uid"
    assert chosen == {
        "ChunkJob": [],
        "Cache": [],
        "FileVolume": [],
        "Job": [ours],
        "Pod": [ours],
        "StatefulSet": ["gristmill.dev/cache"],
    }


# -- volumes


def test_who_waits_for_a_volume_is_looked_at_when_it_is_there(operator: Operator) -> None:
    waiting, other = mill("waiting", uid="1"), mill("other", uid="2")
    waiting["spec"]["input"] = {"files": {"url": "volume://sales/*"}}
    for one in (waiting, other):
        one["metadata"]["resourceVersion"] = "1"
        operator.world.put("ChunkJob", one)
    volume = file_volume("sales")
    volume["metadata"] |= {"namespace": "here", "uid": "v", "resourceVersion": "2"}
    told(operator, "FileVolume", volume)
    assert operator.volume_queue._queued == {("here", "sales")}
    assert operator.job_queue._queued == {("here", "waiting")}


def test_a_volume_that_is_deleted_is_looked_at_when_no_job_uses_it_any_more(operator: Operator) -> None:
    volume = file_volume("sales")
    volume["metadata"] |= {"namespace": "here", "uid": "v", "resourceVersion": "1"}
    operator.world.put("FileVolume", volume)
    job = mill("using")
    job["spec"]["output"] = {"url": "volume://sales/out"}
    ended = {**job, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    told(operator, "ChunkJob", job)
    told(operator, "ChunkJob", ended)
    assert operator.volume_queue._queued == set()
    volume["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    operator.world.drop("ChunkJob", ("here", "using"), job["metadata"]["uid"])
    told(operator, "ChunkJob", job)
    assert operator.volume_queue._queued == set()
    operator.world.drop("ChunkJob", ("here", "using"), job["metadata"]["uid"])
    told(operator, "ChunkJob", ended)
    assert operator.volume_queue._queued == {("here", "sales")}


# -- the queue


class Asked:
    """Stands for the queue: it knows some jobs and users, and keeps what it was asked."""

    asked = answers = has_password = True
    ahead: float | None = 0.0
    server = "queue:6379"

    def __init__(self, **phases: str) -> None:
        self.phases = phases
        self.places: dict[str, str] = {}
        self.uids: list[str] = []
        self.admitted: list[str] = []
        self.users: list[str] = []
        self.silent = False
        self.without: set[str] = set()
        self.meanwhile: Callable[[], None] = lambda: None
        self.forgotten: list[str] = []

    async def look(self, uids: list[str]) -> tuple[dict[str, Any], set[str]]:
        self.uids = sorted(uids)
        self.meanwhile()
        if self.silent:
            raise QueueError("the queue does not answer")
        users = {f"job-{uid}" for uid in self.phases} - self.without
        return {uid: queue_says(self.phases[uid]) for uid in uids}, users

    async def namespaces(self, uids: list[str]) -> dict[str, str]:
        return {uid: self.places.get(uid, "") for uid in uids}

    async def admit(self, uid: str, *_: Any) -> None:
        self.admitted.append(uid)

    async def set_user(self, uid: str) -> None:
        self.users.append(uid)

    async def forget(self, uid: str) -> None:
        self.forgotten.append(uid)


def asking(operator: Operator, **phases: str) -> Asked:
    queue = Asked(**phases)
    operator.queue = operator.jobs._queue = queue  # type: ignore[assignment]
    return queue


def test_the_queue_is_asked_about_an_ended_job_now_and_then_only(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = asking(operator, a="running", b="complete", c="failed", d="complete")
    seconds = 900.0
    monkeypatch.setattr("gristmill.controllers.operating.time.monotonic", lambda: seconds)
    for uid in queue.phases:
        found = mill(uid, uid=uid)
        if uid == "d":
            found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        told(operator, "ChunkJob", found)

    def asked(at: float) -> list[str]:
        nonlocal seconds
        seconds = at
        asyncio.run(operator._look())
        return queue.uids

    assert asked(1000) == ["a", "b", "c", "d"]
    assert asked(1001) == ["a", "d"]
    assert asked(1011) == ["a", "b", "c", "d"]
    told(operator, "ChunkJob", mill("b", uid="b"))  # `gristmill retry` has touched it
    assert asked(1012) == asked(1020) == ["a", "b", "d"]
    queue.answers = False
    assert asked(1020.5) == ["a", "b", "c", "d"]


def test_what_the_queue_has_of_jobs_that_are_gone_is_removed(api: FakeApi, operator: Operator) -> None:
    queue = asking(operator, a="running", b="running")
    operator.jobs.users = {"default", "job-a", "job-b"}
    api.add("ChunkJob", mill(uid="a"))
    asyncio.run(operator._remove_orphans())
    assert queue.forgotten == ["b"]


@pytest.mark.parametrize(("ahead", "left"), [(0.0, 0), (-3600.0, 1), (None, 1)])
def test_a_ttl_is_over_by_the_queues_clock(
    api: FakeApi, operator: Operator, ahead: float | None, left: int
) -> None:
    """It is not known while the queue has not answered an operator that begins."""
    queue = asking(operator, **{"0b1e": "complete"})
    queue.ahead = ahead
    found = resource({"completionTime": text_of(time.time() - 400)}, ttlSecondsAfterFinished=300)
    told(operator, "ChunkJob", api.add("ChunkJob", found))
    operator.jobs.told["0b1e"] = queue_says("complete", workers=0, finished="")
    asyncio.run(operator.jobs.reconcile(("here", "job")))
    assert len(api.all("ChunkJob")) == left


def test_a_status_that_is_refused_is_written_later(api: FakeApi, operator: Operator) -> None:
    told(operator, "ChunkJob", api.add("ChunkJob", resource()))
    operator.queue.asked = operator.queue.answers = True
    operator.jobs.told["0b1e"] = queue_says()
    api.refusals["PATCH /apis/gristmill.dev/v1alpha1/namespaces/here/chunkjobs/job/status"] = (403, "no")
    pause = asyncio.run(operator.jobs.reconcile(("here", "job")))
    assert pause is not None
    assert 0 < pause <= 5


def test_a_deletion_that_is_refused_leaves_no_workers(api: FakeApi, operator: Operator) -> None:
    found = resource(ttlSecondsAfterFinished=1)
    told(operator, "ChunkJob", api.add("ChunkJob", found))
    told(operator, "Job", api.add("Job", job_of(found, 2)))
    operator.queue.asked = operator.queue.answers = True
    operator.queue.ahead = 0.0
    operator.jobs.told["0b1e"] = queue_says("complete", workers=0, finished="1000")
    api.refusals["DELETE /apis/gristmill.dev"] = (403, "a policy says no")
    asyncio.run(operator.jobs.reconcile(("here", "job")))
    assert [job["spec"]["parallelism"] for job in api.all("Job")] == [0]
    (left,) = api.all("ChunkJob")
    assert [c["message"] for c in left["status"]["conditions"] if c["type"] == "Progressing"] == [
        "a policy says no"
    ]


def test_of_namespaces_that_are_not_watched_nothing_is_removed(api: FakeApi) -> None:
    operator = Operator(config("here", "lost"), Cluster(api))
    queue = asking(operator, **dict.fromkeys("abcd", "running"))
    queue.places = {"a": "here", "b": "elsewhere", "c": "lost"}
    operator.jobs.users = {"job-a", "job-b", "job-c", "job-d"}
    api.refusals["GET /apis/gristmill.dev/v1alpha1/namespaces/lost"] = (403, "you may not")
    asyncio.run(operator._remove_orphans())
    assert queue.forgotten == ["a"]


def test_an_operator_that_begins_looks_for_the_secret_and_then_now_and_then(
    api: FakeApi, operator: Operator
) -> None:
    uid = "0b1e"
    queue = asking(operator, **{uid: "running"})
    told(operator, "ChunkJob", api.add("ChunkJob", mill()))
    told(operator, "Job", api.add("Job", job_of(mill(), 4)))
    operator.jobs.users = {f"job-{uid}"}
    for _ in range(2):
        operator.jobs.told[uid] = queue_says()
        asyncio.run(operator.jobs.reconcile(("here", "job")))
    (made,) = api.all("Secret")
    assert base64.b64decode(made["data"]["url"]).startswith(b"redis://job-0b1e:")
    assert queue.users == [uid]
    assert len([call for call in api.calls if "secrets" in call]) == 1


@pytest.mark.parametrize("data", [None, {}, {"url": "eA=="}, {"password": ""}])
def test_a_queue_whose_secret_has_no_password_is_one_that_does_not_answer(
    api: FakeApi, operator: Operator, data: dict[str, str] | None
) -> None:
    api.add("Secret", {"metadata": {"name": "queue-auth", "namespace": "home"}, "data": data})
    assert asyncio.run(operator._look())
    assert (operator.queue.asked, operator.queue.answers, operator.queue.has_password) == (True, False, False)


def test_a_queue_whose_secret_can_not_be_read_is_one_that_does_not_answer(
    api: FakeApi, operator: Operator
) -> None:
    api.refusals["GET /api/v1/namespaces/home/secrets"] = (500, "it can't be decrypted")
    with pytest.raises(ApiError):
        asyncio.run(operator._look())
    assert (operator.queue.asked, operator.queue.answers) == (True, False)


def test_what_is_looked_at_from_time_to_time_does_not_wait_for_the_queues_cache(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    async def refused(version: str) -> None:
        raise ApiError(403, "a policy says no")

    async def remove_orphans() -> None:
        done.append("orphans")
        raise asyncio.CancelledError

    monkeypatch.setattr(operator.caches, "keep_queue", refused)
    monkeypatch.setattr(operator, "_remove_orphans", remove_orphans)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(operator._resync())
    assert done == ["orphans"]


@pytest.mark.parametrize("status", [403, 500])
def test_events_that_can_not_be_listed_hold_nothing_up(api: FakeApi, operator: Operator, status: int) -> None:
    found = mill()
    found["metadata"]["creationTimestamp"] = text_of(time.time() - 900)
    found["spec"]["suspend"] = True
    told(operator, "ChunkJob", api.add("ChunkJob", found))
    job = job_of(found)
    job["metadata"]["creationTimestamp"] = text_of(time.time() - 800)
    told(operator, "Job", api.add("Job", job))
    operator.queue.asked = True
    operator.jobs.told["0b1e"] = queue_says(workers=0)
    api.refusals["GET /apis/events.k8s.io"] = (status, "no")
    asyncio.run(operator.jobs.reconcile(("here", "job")))
    assert api.all("Job")[0]["spec"]["parallelism"] == 0


def test_an_event_that_can_not_be_written_in_time_holds_no_deletion_up(
    api: FakeApi, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = mill()
    found["metadata"]["deletionTimestamp"] = text_of(time.time() - 600)
    told(operator, "ChunkJob", api.add("ChunkJob", found))
    operator.queue.asked = True
    create = Cluster.create

    async def slow(self: Cluster, manifest: dict[str, Any]) -> Any:
        if manifest["kind"] == "Event":
            raise TimeoutError
        return await create(self, manifest)

    monkeypatch.setattr(Cluster, "create", slow)
    asyncio.run(operator.jobs.reconcile(("here", "job")))
    assert not [one for one in api.all("ChunkJob") if one["metadata"].get("finalizers")]


def looked(operator: Operator) -> list[tuple[str, str]]:
    """Look at the queue; return which jobs are to be looked at then."""
    operator.job_queue = WorkQueue(operator.jobs.reconcile)
    with suppress(QueueError):
        asyncio.run(operator._look())
    return sorted(operator.job_queue._queued)


def test_when_the_queue_stops_to_answer_all_jobs_are_looked_at_once(operator: Operator) -> None:
    queue = asking(operator, a="running", b="complete")
    for uid in queue.phases:
        told(operator, "ChunkJob", mill(uid, uid=uid))
    assert looked(operator) == [("here", "a"), ("here", "b")]
    assert looked(operator) == []
    queue.silent = True
    assert looked(operator) == [("here", "a"), ("here", "b")]
    queue.answers = False
    assert looked(operator) == []
    queue.silent = False
    assert looked(operator) == [("here", "a"), ("here", "b")]


def test_a_job_whose_user_is_gone_is_looked_at(operator: Operator) -> None:
    queue = asking(operator, a="running", b="running")
    for uid in queue.phases:
        told(operator, "ChunkJob", mill(uid, uid=uid))
    looked(operator)
    queue.without = {"job-b"}
    assert looked(operator) == [("here", "b")]


def test_what_goes_while_the_queue_is_asked_about_it_is_not_remembered(operator: Operator) -> None:
    queue = asking(operator, a="running")
    told(operator, "ChunkJob", mill("a", uid="a"))
    queue.meanwhile = lambda: operator._end("ChunkJob", ("here", "a"), "a")
    looked(operator)
    assert operator.jobs.told == {}
