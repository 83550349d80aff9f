"""The life of a ChunkJob: from `kubectl apply` to nothing being left."""

from __future__ import annotations

import json
import time

import pytest
from tests.e2e.kube import Kube, chunk_job, claim, kubectl, mounted, queue, shell, until

SLOW = "import time\n\ndef process(x):\n    time.sleep(0.2)\n    return x\n"


def test_it_completes_and_kubectl_can_wait_for_it(kube: Kube) -> None:
    kube.apply(chunk_job())
    kube.ctl("wait", "chj/mill", "--for=condition=Complete", "--timeout=60s")
    status = kube.status("mill")
    assert status["chunks"]["succeeded"] == status["chunks"]["total"] == 100
    assert status["items"]["succeeded"] == 100
    header, line = kube.ctl("get", "chj").splitlines()
    assert header.split() == ["NAME", "STATE", "DONE", "TOTAL", "FAILED", "WORKERS", "ETA", "AGE"]
    assert line.split()[:5] == ["mill", "Complete", "100", "100", "0"]
    job = kube.get("job", "mill-workers")
    assert job is not None
    until(lambda: (kube.get("job", "mill-workers") or {})["spec"]["parallelism"] == 0)
    reasons = {event["reason"] for event in json.loads(kube.ctl("get", "events", "-o", "json"))["items"]}
    assert "AllSucceeded" in reasons


def test_what_it_prints_is_in_the_logs_of_its_pods(kube: Kube) -> None:
    kube.apply(chunk_job(process={"source": "def process(x):\n    print('number', x)\n    return x\n"}))
    kube.await_complete("mill")
    text = until(lambda: kube.ctl("logs", "-l", "gristmill.dev/chunkjob=mill", "--tail=-1"))
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert {"number 7", "number 99"} <= {line["text"] for line in lines}


def test_a_last_step_that_takes_long_keeps_its_worker(kube: Kube) -> None:
    """No chunk is left by then, and Kubernetes would stop any worker that is not wanted."""
    text = "import time\n\ndef process(x):\n    return x\n\ndef add(a, b):\n    time.sleep(4)\n    return a + b\n"
    kube.apply(
        claim("data"),
        chunk_job(
            input={"range": {"stop": 4}},
            chunks={"size": 1},
            process={"source": text},
            reduce={"function": "add"},
            output={"url": "/data/out"},
            workers=mounted("data"),
        ),
    )
    kube.await_complete("mill")


@pytest.mark.parametrize("cascade", ["background", "foreground"])
def test_deleting_it_leaves_nothing(kube: Kube, cascade: str) -> None:
    workers = mounted("data")
    kube.apply(
        claim("data"),
        chunk_job(
            process={"source": SLOW},
            output={"url": "/data/out"},
            workers=workers,
            chunks={"size": 5},
            coordination=True,
        ),
    )
    until(lambda: kube.status("mill").get("chunks", {}).get("succeeded"))
    uid = kube.uid("mill")
    assert uid in queue("ACL", "USERS")
    assert kube.get("serviceaccount", "mill-coordination")
    assert kube.get("rolebinding", "mill-coordination")
    kube.ctl("delete", "chj", "mill", f"--cascade={cascade}", "--timeout=60s")
    until(lambda: not kube.all("pods"))
    until(lambda: not kube.all("jobs"))
    until(lambda: not [s for s in kube.all("secrets") if s["metadata"]["name"] == "mill-queue"])
    until(lambda: not kube.all("serviceaccounts", f"gristmill.dev/uid={uid}"))
    until(lambda: not kube.all("rolebindings"))
    assert uid not in queue("ACL", "USERS")
    assert uid not in queue("KEYS", "*")
    kube.apply(shell("look", "data", "sh", "-c", "find /data -path '*parts*' -o -path '*tmp*' | wc -l"))
    until(lambda: (kube.get("pod", "look") or {}).get("status", {}).get("phase") == "Succeeded")
    assert kube.ctl("logs", "look").split() == ["0"]


def test_deleting_it_ends_its_workers_though_kubernetes_is_to_leave_them(kube: Kube) -> None:
    kube.apply(chunk_job(process={"source": SLOW}, chunks={"size": 1}))
    until(lambda: kube.status("mill").get("chunks", {}).get("succeeded"))
    uid = kube.uid("mill")
    kube.ctl("delete", "chj", "mill", "--cascade=orphan", "--timeout=60s")
    until(lambda: not kube.all("jobs"))
    until(lambda: not kube.all("pods"))
    assert uid not in queue("ACL", "USERS")


def test_deleting_it_waits_for_no_workers_where_there_are_none(kube: Kube) -> None:
    kube.apply(
        claim("data"),
        chunk_job(
            process={"source": SLOW}, output={"url": "/data/out"}, workers=mounted("data"), chunks={"size": 5}
        ),
    )
    until(lambda: kube.status("mill").get("chunks", {}).get("succeeded"))
    kube.ctl("patch", "chj", "mill", "--type=merge", "-p", '{"spec": {"suspend": true}}')
    until(lambda: kube.condition("mill", "Suspended"))
    kube.ctl("delete", "job", "mill-workers", "--cascade=foreground")
    kube.ctl("delete", "chj", "mill", "--timeout=20s")
    reasons = {event["reason"] for event in json.loads(kube.ctl("get", "events", "-o", "json"))["items"]}
    assert "RemovalIncomplete" in reasons


def test_suspend_stops_the_workers_and_resume_goes_on(kube: Kube) -> None:
    kube.apply(chunk_job(process={"source": SLOW}, chunks={"size": 1}))
    until(lambda: kube.status("mill").get("chunks", {}).get("succeeded"))
    kube.ctl("patch", "chj", "mill", "--type=merge", "-p", '{"spec": {"suspend": true}}')
    until(lambda: kube.condition("mill", "Suspended"))
    until(lambda: not [p for p in kube.all("pods") if p["status"]["phase"] in ("Pending", "Running")])
    done = kube.status("mill")["chunks"]["succeeded"]
    assert 0 < done < 100
    kube.ctl("patch", "chj", "mill", "--type=merge", "-p", '{"spec": {"suspend": false}}')
    assert kube.await_complete("mill")["chunks"]["succeeded"] == 100
    (condition,) = [c for c in kube.status("mill")["conditions"] if c["type"] == "Suspended"]
    assert (condition["status"], condition["reason"]) == ("False", "Resumed")


def test_scale_changes_the_number_of_workers(kube: Kube) -> None:
    kube.apply(chunk_job(process={"source": SLOW}, workers={"max": 1}, chunks={"size": 1}))
    until(lambda: kube.status("mill").get("workers") == 1)
    kube.ctl("scale", "chj", "mill", "--replicas=3")
    until(lambda: kube.status("mill").get("workers") == 3)
    kube.await_complete("mill")


def test_a_deadline_ends_it(kube: Kube) -> None:
    slow = "import time\n\ndef process(x):\n    time.sleep(100)\n"
    kube.apply(chunk_job(process={"source": slow}, activeDeadlineSeconds=3))
    condition = until(lambda: kube.condition("mill", "Failed"))
    assert condition["reason"] == "DeadlineExceeded"
    until(lambda: not [p for p in kube.all("pods") if p["status"]["phase"] == "Running"])


def test_it_is_deleted_when_its_time_is_over(kube: Kube) -> None:
    kube.apply(chunk_job(ttlSecondsAfterFinished=2))
    until(lambda: kube.get("chunkjob", "mill") is None)


def test_one_that_was_wrong_from_its_start_is_deleted_when_its_time_is_over(kube: Kube) -> None:
    kube.apply(chunk_job(process={"source": "def process(x:\n"}, ttlSecondsAfterFinished=2))
    until(lambda: kube.get("chunkjob", "mill") is None)


def test_what_workers_read_when_they_begin_is_taken_over_by_others(kube: Kube) -> None:
    """With the time-out that it began with it would never end."""
    source = "import os, time\n\ndef process(x):\n    time.sleep(0.1 if x else 600)\n    return x\n"
    kube.apply(chunk_job(process={"source": source}, chunks={"size": 1}, retry={"attempts": 1}))
    until(lambda: kube.status("mill").get("chunks", {}).get("succeeded"))
    before = {pod["metadata"]["name"] for pod in kube.all("pods")}
    change = {
        "retry": {"timeoutSeconds": 1},
        "workers": {"max": 1, "processes": 3},
        "failures": {"tolerated": 1},
    }
    kube.ctl("patch", "chj", "mill", "--type=merge", "-p", json.dumps({"spec": change}))
    status = kube.await_complete("mill")
    assert (status["items"]["succeeded"], status["items"]["failed"]) == (99, 1)
    assert {pod["metadata"]["name"] for pod in kube.all("pods")} - before
    assert kube.condition("mill", "SpecChanged") is None


def test_one_of_the_same_name_inherits_nothing(kube: Kube) -> None:
    kube.apply(chunk_job())
    kube.await_complete("mill")
    first = kube.uid("mill")
    kube.ctl("delete", "chj", "mill", "--wait=false")
    until(lambda: kube.get("chunkjob", "mill") is None)
    kube.apply(chunk_job(input={"range": {"stop": 7}}))
    status = kube.await_complete("mill")
    assert kube.uid("mill") != first
    assert status["chunks"]["succeeded"] == status["chunks"]["total"] == 7


def test_a_wrong_one_says_what_is_wrong_and_starts_nothing(kube: Kube) -> None:
    kube.apply(chunk_job(process={"source": "def process(x:\n"}))
    condition = until(lambda: kube.condition("mill", "Failed"))
    assert condition["reason"] == "InvalidSpec"
    assert "spec.process.source" in condition["message"]
    assert kube.all("jobs") == []
    kube.apply(chunk_job())
    until(lambda: kube.condition("mill", "Failed") is None)
    kube.await_complete("mill")


def test_a_function_that_is_not_there_is_said_within_seconds(kube: Kube) -> None:
    kube.apply(chunk_job(process={"function": "nowhere:f"}))
    condition = until(lambda: kube.condition("mill", "Failed"), 30)
    assert condition["reason"] == "LoadFailed"
    assert "nowhere" in condition["message"]


def test_modules_come_from_a_config_map(kube: Kube) -> None:
    modules = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "code"},
        "data": {"mine.py": "def triple(x):\n    return 3 * x\n"},
    }
    kube.apply(modules, chunk_job(process={"function": "mine:triple", "modules": "code"}))
    kube.await_complete("mill")


def test_a_namespace_can_be_deleted_while_it_runs(kube: Kube) -> None:
    kube.apply(
        claim("data"),
        chunk_job(process={"source": SLOW}, output={"url": "/data/out"}, workers=mounted("data")),
    )
    until(lambda: kube.status("mill").get("chunks", {}).get("succeeded"))
    uid = kube.uid("mill")
    started = time.monotonic()
    kubectl("delete", "namespace", kube.namespace, "--timeout=80s")
    assert time.monotonic() - started < 80
    assert uid not in queue("ACL", "USERS")
    assert uid not in queue("KEYS", "*")
