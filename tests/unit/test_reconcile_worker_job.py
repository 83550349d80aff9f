"""The objects that are made for a ChunkJob."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.unit.reconcile_builders import UID, URL, job_of, resource

from gristmill.reconcilers.accounts import account, binding
from gristmill.reconcilers.observed import context_of
from gristmill.reconcilers.worker_job import belongs, is_current, job_name, queue_secret, secret_name


def pod_of(**spec: Any) -> dict[str, Any]:
    return dict(job_of(resource(**spec))["spec"]["template"]["spec"])


def environment(**spec: Any) -> dict[str, Any]:
    (container,) = pod_of(**spec)["containers"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def test_pods_may_do_nothing() -> None:
    pod = pod_of()
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_what_a_worker_must_know_is_in_its_environment() -> None:
    told = environment()
    assert told["GRISTMILL_JOB"] == UID
    assert told["GRISTMILL_QUEUE_URL"] == {"secretKeyRef": {"name": "job-queue", "key": "url"}}
    assert told["GRISTMILL_WORKER"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert "GRISTMILL_DURABLE" not in told
    assert environment(durability="always")["GRISTMILL_DURABLE"] == "1"


@pytest.mark.parametrize(("grace", "drain"), [(30, "27"), (1, "1"), (600, "597")])
def test_a_worker_drains_within_its_grace_period(grace: int, drain: str) -> None:
    template = {"terminationGracePeriodSeconds": grace}
    assert environment(workers={"template": template})["GRISTMILL_DRAIN_SECONDS"] == drain


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ({}, []),
        ({"input": {"lines": {"url": "/data/*"}}, "output": {"url": "s3://bucket/volume://x/y"}}, []),
        ({"input": {"lines": {"url": "volume://sales/2026/*.csv"}}}, ["sales"]),
        ({"input": {"files": {"url": "volume://b/*"}}, "output": {"url": "volume://a/out"}}, ["a", "b"]),
        ({"input": {"files": {"url": "volume://a/*"}}, "output": {"url": "volume://a/out"}}, ["a"]),
    ],
)
def test_workers_get_the_key_of_each_volume_that_the_spec_names(
    spec: dict[str, Any], names: list[str]
) -> None:
    pod = pod_of(**spec)
    secrets = {one["name"]: one["secret"] for one in pod["volumes"] if "secret" in one}
    (container,) = pod["containers"]
    mounts = {one["mountPath"]: one for one in container["volumeMounts"] if one["name"] in secrets}
    assert list(mounts) == [f"/var/run/gristmill/volumes/{name}" for name in names]
    assert [secrets[one["name"]]["secretName"] for one in mounts.values()] == [
        f"{name}-volume" for name in names
    ]
    assert all(one["readOnly"] for one in mounts.values())


def test_the_template_is_taken_over() -> None:
    template = {
        "labels": {"team": "mill"},
        "annotations": {"note": "x"},
        "resources": {"limits": {"memory": "1Gi"}},
        "env": [
            {"name": "A", "value": "b"},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "priorityClassName": "low",
        "serviceAccountName": "mine",
        "imagePullSecrets": [{"name": "pull"}],
    }
    job = job_of(resource(workers={"template": template, "image": "mine:1"}))
    made, pod = job["spec"]["template"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert made["metadata"]["labels"]["team"] == "mill"
    assert made["metadata"]["annotations"] == {"note": "x"}
    assert container["image"] == "mine:1"
    assert container["resources"] == {"limits": {"memory": "1Gi"}}
    assert container["env"][:2] == [
        {"name": "A", "value": "b"},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    assert pod["volumes"][0] == {"name": "data", "persistentVolumeClaim": {"claimName": "c"}}
    assert container["volumeMounts"][0] == {"name": "data", "mountPath": "/data"}
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert pod["tolerations"][0] == {"key": "gpu", "operator": "Exists"}
    assert (pod["priorityClassName"], pod["serviceAccountName"]) == ("low", "mine")
    assert pod["automountServiceAccountToken"] is True
    assert pod["imagePullSecrets"] == [{"name": "pull"}]


def test_workers_that_coordinate_have_an_account_of_their_own() -> None:
    pod = pod_of(coordination=True)
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("job-coordination", True)
    without = pod_of()
    assert "serviceAccountName" not in without
    assert {name: one for name, one in pod.items() if name != "serviceAccountName"} == without | {
        "automountServiceAccountToken": True
    }


def test_the_account_may_what_the_role_says_in_the_namespace_of_the_job() -> None:
    owner = resource()["metadata"]
    made, bound = account(owner), binding(owner, "role")
    assert {one["metadata"]["name"] for one in (made, bound)} == {"job-coordination"}
    assert all(belongs(one, UID) and one["metadata"]["namespace"] == "here" for one in (made, bound))
    assert made["automountServiceAccountToken"] is False
    assert (bound["roleRef"]["kind"], bound["roleRef"]["name"]) == ("ClusterRole", "role")
    assert bound["subjects"] == [{"kind": "ServiceAccount", "name": "job-coordination", "namespace": "here"}]


def test_other_pods_are_made_where_coordination_changes() -> None:
    def is_still(job: dict[str, Any], **spec: Any) -> bool:
        return is_current(job, context_of(resource(**spec)).job)

    without, made = job_of(resource()), job_of(resource(coordination=True))
    assert (is_still(without), is_still(made, coordination=True)) == (True, True)
    assert (is_still(without, coordination=True), is_still(made)) == (False, False)


_TEMPLATE = {"nodeSelector": {"disk": "ssd"}, "resources": {"requests": {"cpu": "1"}}}


@pytest.mark.parametrize(
    ("spec", "digest"),
    [
        ({}, "44136fa355b3678a"),
        (
            {"workers": {"max": 3}, "retry": {"backoffSeconds": 2}, "failures": {"tolerated": 1}},
            "44136fa355b3678a",
        ),
        ({"workers": {"image": "mine:1", "template": _TEMPLATE}, "coordination": True}, "985797c2a04f48e5"),
        (
            {
                "workers": {"processes": 2, "leaseSeconds": 9},
                "retry": {"attempts": 1},
                "durability": "always",
            },
            "10672c98f240eae5",
        ),
    ],
)
def test_another_version_of_the_operator_restarts_no_workers(spec: dict[str, Any], digest: str) -> None:
    """These digests are at Jobs that run: another would have all their workers made anew."""
    annotations = job_of(resource(**spec))["metadata"]["annotations"]
    assert (annotations["gristmill.dev/pods"], annotations["gristmill.dev/work"]) == (
        digest,
        "84f08b75d261e898",
    )


def test_modules_are_where_the_worker_looks_first() -> None:
    (container,) = pod_of(process={"function": "mine:f", "modules": "code"})["containers"]
    assert {"name": "gristmill-modules", "mountPath": "/work", "readOnly": True} in container["volumeMounts"]
    assert container["workingDir"] == "/work"


def test_only_kueues_labels_go_from_the_job_to_its_job() -> None:
    found = resource()
    found["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "q", "team": "x"}
    labels = job_of(found)["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "q"
    assert "team" not in labels
    assert labels["gristmill.dev/uid"] == UID


def test_names_are_short_enough_and_different() -> None:
    long = ["a" * 62 + end for end in "bc"]
    names = [job_name(name) for name in long]
    assert len(set(names)) == 2
    assert all(len(name) <= 63 for name in names)
    assert job_name("mill") == "mill-workers"


def test_the_secret_has_the_url_and_an_owner() -> None:
    found = resource()
    secret = queue_secret(found["metadata"], URL)
    assert secret["metadata"]["name"] == secret_name("job") == "job-queue"
    assert base64.b64decode(secret["data"]["url"]).decode() == URL
    assert belongs(secret, UID)
    assert not belongs(secret, "another")
    assert not belongs(None, UID)
