"""Jobs whose workers Kueue starts and stops. Skipped where the cluster has no Kueue (tried with 0.17.0).

Each test has a ClusterQueue of its own, with quota for two workers: they disturb nobody, and nobody them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.kube import Kube, chunk_job, claim, kubectl, mounted, queue, until
from tests.e2e.rig import assert_as_calm, assert_nothing_left, await_some, written_job

_API = "kueue.x-k8s.io/v1beta2"
_QUEUE = "kueue.x-k8s.io/queue-name"
#: what each worker asks for
_CPU = 20


@pytest.fixture
def team(kube: Kube) -> Iterator[Kube]:
    """Give a namespace with a LocalQueue `team` of a ClusterQueue that has the namespace's name."""
    if not kubectl("get", "crd", "clusterqueues.kueue.x-k8s.io", "-o", "name", "--ignore-not-found").strip():
        pytest.skip("the cluster has no Kueue")
    name = kube.namespace
    flavor = {"apiVersion": _API, "kind": "ResourceFlavor", "metadata": {"name": name}}
    local = {"apiVersion": _API, "kind": "LocalQueue", "metadata": {"name": "team"}}
    kube.apply(flavor, _cluster_queue(name, 2), {**local, "spec": {"clusterQueue": name}})
    yield kube
    kube.ctl("delete", "chj", "--all", "--wait=false", code=None)
    for kind in ("clusterqueue", "resourceflavor", "workloadpriorityclass"):
        kubectl("delete", kind, name, "--wait=false", "--ignore-not-found", code=None)


def test_a_job_in_its_quota_runs_and_gives_the_quota_back(team: Kube) -> None:
    job = _written(2)
    team.apply(claim("data"), job)
    await_some(team)
    (workload,) = team.all("workloads")
    assert _is(workload, "Admitted")
    assert _used(team) == 2
    assert_as_calm(team, job)
    until(lambda: team.all("workloads") == [] and _used(team) == 0)
    assert _stops(team) == 0


def test_the_number_of_workers_stays_while_the_job_runs(team: Kube) -> None:
    """Where there are too few chunks left for all of them, too: another number is another Job."""
    _allow(team, 4)
    job = _written(4)
    team.apply(claim("data"), job)
    await_some(team)
    (workload,) = team.all("workloads")
    until(lambda: team.status("mill")["chunks"]["succeeded"] > 90)
    assert [one["metadata"]["uid"] for one in team.all("workloads")] == [workload["metadata"]["uid"]]
    assert _stops(team) == 0
    assert_as_calm(team, job)


def test_a_job_waits_for_quota_and_says_so(team: Kube) -> None:
    _allow(team, 1)
    job = _written(2)
    team.apply(claim("data"), job)
    until(lambda: "quota" in _told(team))
    assert _told(team).startswith("Kueue keeps the workers waiting (LocalQueue team): ")
    assert team.status("mill")["state"] == "Pending"
    assert team.all("pods") == []
    _allow(team, 2)
    assert_as_calm(team, job)


def test_a_queue_that_is_not_there_is_said(team: Kube) -> None:
    job = chunk_job()
    job["metadata"]["labels"] = {_QUEUE: "nowhere"}
    team.apply(job)
    until(lambda: "nowhere" in _told(team) and "doesn't exist" in _told(team))


def test_a_second_job_waits_for_the_first(team: Kube) -> None:
    first, second = _written(2, "first"), _written(2, "second")
    team.apply(claim("data"), first)
    await_some(team, "first")
    team.apply(second)
    until(lambda: "quota" in _told(team, "second"))
    assert _used(team) == 2
    assert_as_calm(team, first)
    assert_as_calm(team, second)


def test_a_suspended_job_gives_its_quota_back(team: Kube) -> None:
    job = _written(2)
    team.apply(claim("data"), job)
    await_some(team)
    team.ctl("patch", "chj", "mill", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    until(lambda: team.status("mill")["state"] == "Suspended" and _used(team) == 0)
    team.ctl("patch", "chj", "mill", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    assert_as_calm(team, job)


@pytest.mark.parametrize("quota", [0, 2])
def test_a_deleted_job_leaves_nothing_whether_it_waits_or_runs(team: Kube, quota: int) -> None:
    _allow(team, quota)
    team.apply(claim("data"), _written(2))
    if quota:
        await_some(team)
    else:
        until(lambda: "quota" in _told(team))
    uid = team.uid("mill")
    team.ctl("delete", "chj", "mill", "--timeout=20s")
    assert_nothing_left(team, uid, queue)
    until(lambda: team.all("workloads") == [])
    assert _used(team) == 0


def test_a_queue_is_drained_and_nothing_is_lost(team: Kube) -> None:
    job = _written(2)
    team.apply(claim("data"), job)
    await_some(team)
    _stop(team, "HoldAndDrain")
    until(lambda: "is inactive" in _told(team))
    until(lambda: not [pod for pod in team.all("pods") if pod["status"]["phase"] == "Running"])
    assert team.condition("mill", "Complete") is None
    _stop(team, "None")
    assert_as_calm(team, job)


def test_a_job_of_higher_priority_goes_first_and_the_other_goes_on_after_it(team: Kube) -> None:
    """Kueue's label for that is passed on, too."""
    urgent = {"metadata": {"name": team.namespace}, "value": 1000}
    team.apply({"apiVersion": _API, "kind": "WorkloadPriorityClass", **urgent})
    first, second = _written(2, "first"), _written(2, "second")
    second["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] = team.namespace
    team.apply(claim("data"), first)
    await_some(team, "first")
    team.apply(second)
    until(lambda: "quota" in _told(team, "first"))
    assert_as_calm(team, second)
    assert_as_calm(team, first)


def _written(workers: int, name: str = "mill") -> dict[str, Any]:
    """Return a job of the LocalQueue, with its output on the claim `data`."""
    asked = mounted("data", max=workers)
    asked["template"]["resources"] = {"requests": {"cpu": f"{_CPU}m"}}
    job = written_job(name, workers=asked, output={"url": f"/data/{name}"})
    job["metadata"]["labels"] = {_QUEUE: "team"}
    return job


def _cluster_queue(name: str, workers: int) -> dict[str, Any]:
    quota = {"name": "cpu", "nominalQuota": f"{workers * _CPU}m"}
    return {
        "apiVersion": _API,
        "kind": "ClusterQueue",
        "metadata": {"name": name},
        "spec": {
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            "resourceGroups": [
                {"coveredResources": ["cpu"], "flavors": [{"name": name, "resources": [quota]}]}
            ],
        },
    }


def _allow(team: Kube, workers: int) -> None:
    """Have quota for so many workers."""
    team.apply(_cluster_queue(team.namespace, workers))


def _stop(team: Kube, policy: str) -> None:
    body = json.dumps({"spec": {"stopPolicy": policy}})
    kubectl("patch", "clusterqueue", team.namespace, "--type=merge", "-p", body)


def _used(team: Kube) -> int:
    """Return for how many workers quota is reserved."""
    found = json.loads(kubectl("get", "clusterqueue", team.namespace, "-o", "json"))
    (flavor,) = found["status"]["flavorsReservation"]
    (cpu,) = flavor["resources"]
    total = str(cpu["total"])
    return (int(total.removesuffix("m")) if total.endswith("m") else int(total) * 1000) // _CPU


def _stops(team: Kube) -> int:
    """Return how often Kueue has stopped the workers."""
    events = [one for one in team.all("events") if one["reason"] == "Stopped"]
    return sum(int(one.get("count") or 1) for one in events)


def _is(found: dict[str, Any], kind: str) -> bool:
    conditions = found.get("status", {}).get("conditions", ())
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)


def _told(team: Kube, name: str = "mill") -> str:
    """Return why a job does not progress, in words."""
    for condition in team.status(name).get("conditions", ()):
        if condition["type"] == "Progressing" and condition["status"] == "False":
            return str(condition["message"])
    return ""
