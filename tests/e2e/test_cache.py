"""A Cache on a cluster: it serves, and gets back what somebody takes away from it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.e2e.kube import Kube, until
from tests.e2e.rig import deaths, dying_operator

_CAPACITY = ("valkey-cli", "config", "get", "maxmemory")


def cache(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "gristmill.dev/v1alpha1",
        "kind": "Cache",
        "metadata": {"name": "store"},
        "spec": {"capacity": "32Mi", **spec},
    }


def test_it_serves_and_its_secret_lets_in(kube: Kube) -> None:
    kube.apply(cache())
    _await(kube, "Serving")
    words = ["exec", "store-0", "--", "sh", "-c", "valkey-cli set a 1 && valkey-cli get a"]
    assert kube.ctl(*words).split() == ["OK", "1"]


def test_one_that_is_made_again_at_once_inherits_nothing(kube: Kube) -> None:
    kube.apply(cache(persistence="log"))
    _await(kube, "Serving")
    kube.ctl("exec", "store-0", "--", "valkey-cli", "set", "a", "1")
    former = kube.get("secret", "store-auth")
    kube.ctl("delete", "gcache", "store")
    kube.apply(cache(persistence="log"))
    _await(kube, "Serving")
    found = kube.get("secret", "store-auth")
    assert former is not None
    assert found is not None
    assert found["data"]["password"] != former["data"]["password"]
    assert kube.ctl("exec", "store-0", "--", "valkey-cli", "dbsize").split() == ["0"]


def test_what_was_deleted_by_hand_is_made_again(kube: Kube) -> None:
    kube.apply(cache())
    _await(kube, "Serving")
    kube.ctl("delete", "service/store", "secret/store-auth")
    kube.ctl("delete", "pod", "store-0", "--now")
    until(lambda: kube.get("service", "store") and kube.get("secret", "store-auth"))
    _await(kube, "Serving")


def test_a_password_that_was_taken_out_is_made_anew(kube: Kube) -> None:
    kube.apply(cache())
    _await(kube, "Serving")
    former = kube.get("secret", "store-auth")
    assert former
    kube.ctl("patch", "secret", "store-auth", "--type=merge", "-p", '{"data": {"password": null}}')
    kube.ctl("delete", "pod", "store-0", "--now")
    until(lambda: (kube.get("secret", "store-auth") or former)["data"].get("password"))
    _await(kube, "Serving")
    until(lambda: "PONG" in kube.ctl("exec", "store-0", "--", "valkey-cli", "ping", code=None))
    found = kube.get("secret", "store-auth")
    assert found
    password = base64.b64decode(found["data"]["password"]).decode()
    assert found["data"]["password"] != former["data"]["password"]
    assert kube.ctl("exec", "store-0", "--", "sh", "-c", "echo $REDISCLI_AUTH").strip() == password


def test_a_secret_of_somebody_else_is_left_alone(kube: Kube) -> None:
    name = {"name": "store-auth"}
    kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": name, "stringData": {"a": "b"}}, cache())
    _await(kube, "NameTaken")
    found = kube.get("secret", "store-auth")
    assert found is not None
    assert set(found["data"]) == {"a"}
    kube.ctl("delete", "secret", "store-auth")
    _await(kube, "Serving")


@pytest.mark.parametrize("kind", ["secrets", "services", "statefulsets.apps"])
def test_what_a_quota_forbids_is_said_and_made_when_there_is_room(kube: Kube, kind: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    kube.apply({**quota, "spec": {"hard": {f"count/{kind}": "0"}}})
    until(lambda: (kube.get("quota", "few") or {}).get("status", {}).get("hard"))
    kube.apply(cache())
    _await(kube, "QuotaExceeded")
    kube.ctl("delete", "quota", "few")
    _await(kube, "Serving")


@pytest.mark.parametrize(
    "first", [{"limits": {"cpu": 1}}, {"limits": {"cpu": 1}, "requests": {"memory": "100Mi"}}]
)
def test_what_is_taken_out_of_its_spec_is_taken_from_its_pod(kube: Kube, first: dict[str, Any]) -> None:
    kube.apply(cache(capacity="16Mi", resources=_with_cpu(first)))
    _await(kube, "Serving")
    for resources in (
        {"requests": {"cpu": "20m", "memory": None}, "limits": None},
        {"requests": {"cpu": "30m"}},
    ):
        patch = json.dumps({"spec": {"resources": resources}})
        kube.ctl("patch", "gcache", "store", "--type=merge", "-p", patch)
        # (Kubernetes adds the request that a limit implies)
        cpu = resources["requests"]["cpu"]
        wanted = {"requests": {"cpu": cpu, "memory": "88Mi"}, "limits": {"memory": "88Mi"}}
        until(lambda wanted=wanted: _resources(kube) == wanted)
        _await(kube, "Serving")


def _with_cpu(resources: dict[str, Any]) -> dict[str, Any]:
    return {**resources, "requests": {"cpu": "20m", **resources.get("requests", {})}}


def _resources(kube: Kube) -> dict[str, Any]:
    """Return what the container of the Cache's pod is given."""
    (container,) = (kube.get("pod", "store-0") or {"spec": {"containers": [{}]}})["spec"]["containers"]
    return dict(container.get("resources", {}))


@pytest.mark.alone
@pytest.mark.e2e_faults
@pytest.mark.parametrize(
    "at", ["POST Secret", "POST Service", "POST StatefulSet", "PATCH Cache/status", "PATCH StatefulSet"]
)
def test_the_operator_is_killed_after_a_write(kube: Kube, at: str) -> None:
    with dying_operator(at):
        kube.apply(cache())
        if at == "PATCH StatefulSet":
            _await(kube, "Serving")
            kube.ctl("patch", "gcache", "store", "--type=merge", "-p", '{"spec": {"capacity": "48Mi"}}')
        until(deaths)
    _await(kube, "Serving")
    expected = "50331648" if at == "PATCH StatefulSet" else "33554432"
    until(lambda: expected in kube.ctl("exec", "store-0", "--", *_CAPACITY, code=None).split())


def _await(kube: Kube, reason: str) -> None:
    def reached() -> bool:
        found = kube.get("gcache", "store") or {}
        conditions = found.get("status", {}).get("conditions", ())
        return any(condition["reason"] == reason for condition in conditions)

    until(reached)
