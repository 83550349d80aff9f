"""What breaks while a ChunkJob runs; each time every input is in the output once, as if nothing had happened."""

from __future__ import annotations

import json
import time
from datetime import datetime

import pytest
from tests.e2e.kube import SYSTEM, Kube, chunk_job, claim, kubectl, mounted, queue, until
from tests.e2e.rig import (
    LEASE,
    QUEUE_CLAIM,
    QUEUE_POD,
    assert_as_calm,
    assert_nothing_left,
    await_queue,
    await_some,
    deaths,
    dying_operator,
    leader,
    no_operator,
    no_queue,
    operators,
    results,
    start,
    stopped_api_server,
    written_job,
)

#: disturbs what other tests use
alone = pytest.mark.alone
#: takes long, and is like one that does not
long = pytest.mark.e2e_faults

QUOTA = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"}}


# -- the operator


@alone
@pytest.mark.parametrize(
    "at",
    [
        "AdmitToQueue",
        "POST Job",
        pytest.param("PATCH ChunkJob", marks=long),
        pytest.param("POST Secret", marks=long),
        pytest.param("PATCH ChunkJob/status", marks=long),
        pytest.param("POST Event", marks=long),
        pytest.param("PATCH Job", marks=long),
        pytest.param("Configure", marks=long),
        pytest.param("DELETE Job", marks=long),
        pytest.param("PATCH Cache", marks=long),
        pytest.param("POST ServiceAccount", marks=long),
        pytest.param("POST RoleBinding", marks=long),
    ],
)
def test_the_operator_is_killed_after_a_write(kube: Kube, at: str) -> None:
    with dying_operator(at):
        job = start(
            kube, **({"coordination": True} if at in ("POST ServiceAccount", "POST RoleBinding") else {})
        )
        if at in ("PATCH Job", "Configure"):
            await_some(kube)
            kube.ctl("scale", "chj", "mill", "--replicas=3")
        if at == "DELETE Job":
            await_some(kube)
            changed = {"spec": {"workers": {"template": {"labels": {"changed": "yes"}}}}}
            kube.ctl("patch", "chj", "mill", "--type=merge", "-p", json.dumps(changed))
        until(deaths)
    assert_as_calm(kube, job)


@alone
@long
def test_the_operator_is_killed_when_it_has_ended_a_job_that_is_late(kube: Kube) -> None:
    with dying_operator("FailJob"):
        start(kube, activeDeadlineSeconds=8, input={"range": {"stop": 100_000}})
        until(deaths)
    until(lambda: (kube.condition("mill", "Failed") or {}).get("reason") == "DeadlineExceeded")
    until(lambda: not [pod for pod in kube.all("pods") if pod["status"]["phase"] == "Running"])


@alone
@long
def test_the_operator_is_killed_when_it_has_deleted_a_job_whose_time_is_over(kube: Kube) -> None:
    with dying_operator("DELETE ChunkJob"):
        start(kube, ttlSecondsAfterFinished=1)
        uid = kube.uid("mill")
        until(deaths)
    until(lambda: kube.get("chunkjob", "mill") is None)
    until(lambda: uid not in queue("ACL", "USERS") and uid not in queue("KEYS", "*"))


@alone
@pytest.mark.parametrize("at", ["Forget", pytest.param("Cancel", marks=long)])
def test_the_operator_is_killed_in_a_deletion(kube: Kube, at: str) -> None:
    with dying_operator(at):
        start(kube)
        await_some(kube)
        uid = kube.uid("mill")
        kube.ctl("delete", "chj", "mill", "--wait=false")
        until(deaths)
    until(lambda: kube.get("chunkjob", "mill") is None)
    assert_nothing_left(kube, uid, queue)


@alone
def test_the_operator_is_down_for_a_whole_job(kube: Kube) -> None:
    # (an operator takes some seconds to go: the job must take longer)
    job = start(kube, input={"range": {"stop": 1000}})
    await_some(kube)
    uid = kube.uid("mill")
    with no_operator():
        until(lambda: queue("HGET", f"gristmill:{{{uid}}}:job", "phase").strip() == "complete")
        assert kube.condition("mill", "Complete") is None
    assert_as_calm(kube, job)


@alone
def test_two_operators_lead_at_once(kube: Kube) -> None:
    """Who has lost the Lease notices some seconds later."""
    first = until(leader)
    (second,) = [pod["metadata"]["name"] for pod in operators() if pod["metadata"]["name"] != first]
    body = json.dumps({"spec": {"holderIdentity": second}})
    kubectl("-n", SYSTEM, "patch", "lease", LEASE, "--type=merge", "-p", body)
    job = start(kube)
    assert_as_calm(kube, job)
    assert len(kube.all("jobs")) == 1


@alone
def test_the_api_server_stops_for_a_while(kube: Kube) -> None:
    job = start(kube)
    await_some(kube)
    with stopped_api_server():
        time.sleep(20)
        resumed = time.time()
    status = assert_as_calm(kube, job)
    assert datetime.fromisoformat(status["completionTime"]).timestamp() < resumed


# -- deletions


@alone
def test_a_job_is_deleted_while_the_operator_is_down(kube: Kube) -> None:
    start(kube)
    await_some(kube)
    uid = kube.uid("mill")
    with no_operator():
        kube.ctl("delete", "chj", "mill", "--wait=false")
        time.sleep(1)
    until(lambda: kube.get("chunkjob", "mill") is None)
    assert_nothing_left(kube, uid, queue)


@alone
def test_a_job_is_deleted_and_made_again_while_the_operator_is_down(kube: Kube) -> None:
    """Who takes the finalizer away by hand gets a new job of the same name, in whose way the old one's objects are."""
    start(kube, input={"range": {"stop": 1000}})
    await_some(kube)
    former = kube.uid("mill")
    with no_operator():
        kube.ctl("patch", "chj", "mill", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
        kube.ctl("delete", "chj", "mill")
        job = written_job(output={"url": "/data/other"})
        kube.apply(job)
    assert_as_calm(kube, job)
    assert kube.uid("mill") != former
    assert_nothing_left(kube, former, queue)


@alone
def test_a_namespace_is_deleted_while_the_queue_is_down(kube: Kube) -> None:
    start(kube)
    await_some(kube)
    uid = kube.uid("mill")
    with no_queue():
        kubectl("delete", "namespace", kube.namespace, "--timeout=80s")
    until(lambda: uid not in queue("ACL", "USERS"))
    until(lambda: uid not in queue("KEYS", "*"))


# -- the queue


@alone
def test_the_queue_is_killed(kube: Kube) -> None:
    job = start(kube)
    for _ in range(2):
        await_some(kube)
        kubectl("-n", SYSTEM, "delete", "pod", QUEUE_POD, "--grace-period=0", "--force")
        await_queue()
    assert_as_calm(kube, job)


@alone
def test_the_queue_loses_its_volume(kube: Kube) -> None:
    """And after many workers were killed, too: that they were says nothing about those of the new epoch."""
    job = start(kube, input={"range": {"stop": 400}})
    await_some(kube)
    epoch = int(queue("HGET", f"gristmill:{{{kube.uid('mill')}}}:job", "epoch"))
    for _ in range(3):
        kube.ctl("delete", "pods", "-l", "gristmill.dev/chunkjob=mill", "--grace-period=0", "--force")
        until(lambda: kube.status("mill").get("workers"))
    kubectl("-n", SYSTEM, "delete", "pvc", QUEUE_CLAIM, "--wait=false")
    kubectl("-n", SYSTEM, "delete", "pod", QUEUE_POD, "--now")
    await_queue()
    assert_as_calm(kube, job)
    assert int(queue("HGET", f"gristmill:{{{kube.uid('mill')}}}:job", "epoch")) > epoch


# -- workers


def test_workers_are_deleted_by_force_again_and_again(kube: Kube) -> None:
    job = start(kube)
    await_some(kube)
    for _ in range(5):
        kube.ctl("delete", "pods", "-l", "gristmill.dev/chunkjob=mill", "--grace-period=0", "--force")
        time.sleep(3)
    assert_as_calm(kube, job)


def test_a_grace_period_is_shorter_than_a_chunk(kube: Kube) -> None:
    workers = mounted("data")
    workers["template"]["terminationGracePeriodSeconds"] = 1
    source = "import time\n\ndef process(x):\n    time.sleep(5)\n    return x\n"
    job = start(
        kube,
        workers=workers,
        process={"source": source},
        input={"range": {"stop": 4}},
        chunks={"size": 1},
    )
    until(lambda: kube.status("mill").get("chunks", {}).get("running") == 2)
    pod = kube.all("pods", "gristmill.dev/chunkjob=mill")[0]["metadata"]["name"]
    kube.ctl("delete", "pod", pod)
    assert_as_calm(kube, job)


def test_an_image_can_not_be_pulled(kube: Kube) -> None:
    job = start(kube, workers=mounted("data", image="registry.invalid/nothing:1"))
    until(lambda: _hindrance(kube) == "ImageUnavailable", 30)
    kube.ctl("patch", "chj", "mill", "--type=merge", "-p", '{"spec": {"workers": {"image": null}}}')
    assert_as_calm(kube, job)


def test_workers_crash_again_and_again_after_the_plan_was_made(kube: Kube) -> None:
    """In this image there is no Python."""
    job = start(kube)
    await_some(kube)
    image = kubectl(
        "-n", SYSTEM, "get", "statefulset", "gristmill-queue", "-o", "jsonpath={..containers[0].image}"
    )
    body = {"spec": {"workers": {"image": image.strip()}}}
    kube.ctl("patch", "chj", "mill", "--type=merge", "-p", json.dumps(body))
    until(lambda: _hindrance(kube) == "WorkersCrash")
    assert "python" in _told_hindrance(kube)[1]
    assert kube.condition("mill", "Failed") is None
    kube.ctl("patch", "chj", "mill", "--type=merge", "-p", '{"spec": {"workers": {"image": null}}}')
    assert_as_calm(kube, job)


def test_a_config_map_of_modules_is_not_there(kube: Kube) -> None:
    kube.apply(chunk_job(process={"function": "mine:triple", "modules": "code"}))
    until(lambda: 'configmap "code" not found' in _told_hindrance(kube)[1], 30)
    assert _hindrance(kube) == "PodsNotStarted"
    data = {"mine.py": "def triple(x):\n    return 3 * x\n"}
    kube.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "data": data})
    kube.await_complete("mill")


def test_the_secret_is_deleted_while_it_runs(kube: Kube) -> None:
    job = start(kube)
    await_some(kube)
    former = kube.get("secret", "mill-queue")
    kube.ctl("delete", "secret", "mill-queue")
    kube.ctl("delete", "pods", "-l", "gristmill.dev/chunkjob=mill", "--grace-period=0", "--force")
    found = until(lambda: kube.get("secret", "mill-queue"))
    assert former is not None
    assert found is not None
    assert found["data"] == former["data"]
    assert_as_calm(kube, job)


def test_the_labels_of_the_job_are_taken_away(kube: Kube) -> None:
    job = start(kube)
    await_some(kube)
    kube.ctl("label", "job", "mill-workers", "gristmill.dev/uid-", "gristmill.dev/chunkjob-")
    selector = f"gristmill.dev/uid={kube.uid('mill')},gristmill.dev/chunkjob=mill"
    until(lambda: kube.all("jobs", selector), 30)
    assert_as_calm(kube, job)


def test_what_a_pod_asks_for_is_changed_while_it_runs(kube: Kube) -> None:
    job = start(kube)
    await_some(kube)
    body = {"spec": {"workers": {"template": {"env": [{"name": "COLOUR", "value": "blue"}]}}}}
    kube.ctl("patch", "chj", "mill", "--type=merge", "-p", json.dumps(body))
    until(lambda: "COLOUR" in json.dumps([made["spec"] for made in kube.all("jobs")]))
    assert_as_calm(kube, job)


def test_an_item_takes_more_memory_than_its_process_may(kube: Kube) -> None:
    process = {"source": _greedy(200), "memoryBytes": "100Mi"}
    _assert_isolated(kube, process, mounted("data"))


def test_an_item_takes_more_memory_than_the_container_may(kube: Kube) -> None:
    workers = mounted("data")
    workers["template"]["resources"] = {"limits": {"memory": "200Mi"}}
    _assert_isolated(kube, {"source": _greedy(400)}, workers)


# -- what the namespace allows


def test_a_quota_is_too_small(kube: Kube) -> None:
    kube.apply({**QUOTA, "spec": {"hard": {"pods": "0"}}})
    job = start(kube)
    until(lambda: _hindrance(kube) == "QuotaExceeded", 30)
    kube.apply({**QUOTA, "spec": {"hard": {"pods": "10"}}})
    assert_as_calm(kube, job)


def test_kueues_label_is_on_the_job(kube: Kube) -> None:
    job = chunk_job()
    job["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "team"}
    kube.apply(job)
    (made,) = until(lambda: kube.all("jobs"))
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"


def test_a_name_is_taken(kube: Kube) -> None:
    """What somebody else made under the name of a job's Secret is left alone, and not waited for in silence."""
    taken = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "mill-queue"},
        "stringData": {"a": "b"},
    }
    kube.apply(taken)
    job = start(kube)
    until(lambda: _hindrance(kube) == "NameTaken", 30)
    found = kube.get("secret", "mill-queue")
    assert found is not None
    assert set(found["data"]) == {"a"}
    kube.ctl("delete", "secret", "mill-queue")
    assert_as_calm(kube, job)


def _hindrance(kube: Kube) -> str:
    """Return why a job does not progress."""
    return _told_hindrance(kube)[0]


def _told_hindrance(kube: Kube) -> tuple[str, str]:
    """Return why a job does not progress, in a word and in words."""
    for condition in kube.status("mill").get("conditions", ()):
        if condition["type"] == "Progressing" and condition["status"] == "False":
            return str(condition["reason"]), str(condition["message"])
    return "", ""


def _greedy(mebibytes: int) -> str:
    return f"def process(x):\n    return len(b'x' * ({mebibytes} << 20)) if x == 13 else x\n"


def _assert_isolated(kube: Kube, process: dict[str, object], workers: dict[str, object]) -> None:
    """See that item 13 of 40 is given up, and nothing else."""
    kube.apply(
        claim("data"),
        written_job(
            process=process,
            workers=workers,
            input={"range": {"stop": 40}},
            chunks={"size": 8},
            failures={"tolerated": 1},
            retry={"attempts": 2, "backoffSeconds": 0.2},
        ),
    )
    status = kube.await_complete("mill")
    assert (status["items"]["succeeded"], status["items"]["failed"]) == (39, 1)
    assert results(kube) == [x for x in range(40) if x != 13]
