"""What a Cache becomes: objects that let it in, name it and run it, and a status that says whether it answers."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.builders import cache

from gristmill.api.cache import CacheStatus
from gristmill.reconcilers.cache import growth, queue_spec, service, stateful_set
from gristmill.reconcilers.cache_access import secret
from gristmill.reconcilers.cache_status import status

NOW = "2026-11-24T12:00:00Z"
BEFORE = "2026-11-24T11:00:00Z"
LABELS = {
    "gristmill.dev/cache": "c",
    "gristmill.dev/uid": "u-1",
    "app.kubernetes.io/managed-by": "gristmill",
}
OWNER = {
    "apiVersion": "gristmill.dev/v1alpha1", "kind": "Cache", "name": "c", "uid": "u-1",
    "controller": True, "blockOwnerDeletion": True,
}  # fmt: skip


def raw(conditions: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, Any]:
    """A Cache as the API server has it."""
    made = cache("c", **spec)
    made["metadata"] |= {"namespace": "apps", "uid": "u-1", "generation": 3, "resourceVersion": "7"}
    return made | {"status": {"conditions": conditions or [], "of a later version": 1}}


def pod(**spec: Any) -> dict[str, Any]:
    template: dict[str, Any] = stateful_set(raw(**spec), "valkey:1", "s-1")["spec"]["template"]["spec"]
    return template


def container(**spec: Any) -> dict[str, Any]:
    (only,) = pod(**spec)["containers"]
    assert isinstance(only, dict)
    return only


def option(name: str, **spec: Any) -> str:
    words = container(**spec)["args"]
    return str(words[words.index(f"--{name}") + 1])


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (secret(raw(), "pw", "salt"), "c-auth"),
        (service(raw()), "c"),
        (stateful_set(raw(), "valkey:1", "s-1"), "c"),
        (stateful_set(raw(persistence="log"), "valkey:1", "s-1"), "c"),
    ],
)
def test_all_objects_are_the_caches_own(made: dict[str, Any], name: str) -> None:
    metadata = {key: value for key, value in made["metadata"].items() if key != "annotations"}
    assert metadata == {"name": name, "namespace": "apps", "labels": LABELS, "ownerReferences": [OWNER]}


@pytest.mark.parametrize(
    ("password", "url"),
    [
        ("abc", "redis://default:abc@c.apps.svc:6379"),
        ("a/b:c@d %", "redis://default:a%2Fb%3Ac%40d%20%25@c.apps.svc:6379"),
    ],
)
def test_secret(password: str, url: str) -> None:
    assert secret(raw(), password, "salt")["stringData"] == {"password": password, "url": url}


def test_service_has_no_address_of_its_own_and_names_only_a_pod_that_answers() -> None:
    spec = service(raw())["spec"]
    assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", False)
    assert spec["selector"] == LABELS
    assert [port["port"] for port in spec["ports"]] == [6379]


def test_stateful_set_is_one_pod_that_the_service_finds() -> None:
    spec = stateful_set(raw(), "valkey:1", "s-1")["spec"]
    assert (spec["replicas"], spec["serviceName"]) == (1, "c")
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"] == LABELS
    assert container()["image"] == "valkey:1"


def test_the_pod_is_another_with_another_password_only() -> None:
    one, same, other = (stateful_set(raw(), "valkey:1", word)["spec"]["template"] for word in ("a", "a", "b"))
    assert one == same != other


@pytest.mark.parametrize("persistence", ["none", "log"])
def test_pod_passes_pod_security_restricted(persistence: str) -> None:
    made = pod(persistence=persistence)
    assert made["automountServiceAccountToken"] is False
    assert made["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": 999, "runAsGroup": 999, "fsGroup": 999,
        "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert container(persistence=persistence)["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert made["terminationGracePeriodSeconds"] == 30


@pytest.mark.parametrize(
    ("spec", "name", "value"),
    [
        ({}, "maxmemory", "67108864"),
        ({"capacity": "1.5Gi"}, "maxmemory", "1610612736"),
        ({}, "maxmemory-policy", "allkeys-lru"),
        ({"eviction": "lru"}, "maxmemory-policy", "allkeys-lru"),
        ({"eviction": "lfu"}, "maxmemory-policy", "allkeys-lfu"),
        ({"eviction": "ttl"}, "maxmemory-policy", "volatile-ttl"),
        ({"eviction": "none"}, "maxmemory-policy", "noeviction"),
        ({"persistence": "none"}, "appendonly", "no"),
        ({"persistence": "log"}, "appendonly", "yes"),
        ({}, "appendfsync", "everysec"),
        ({}, "save", ""),
        ({}, "dir", "/data"),
        ({}, "aclfile", "/data/users.acl"),
        ({}, "enable-debug-command", "no"),
    ],
)
def test_options_of_the_server(spec: dict[str, Any], name: str, value: str) -> None:
    assert option(name, **spec) == value


def test_password_comes_from_the_secret_alone() -> None:
    (variable,) = container()["env"]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "c-auth", "key": "password"}}
    assert not any("pass" in word for word in container()["args"])


DEFAULT = {"requests": {"cpu": "50m"}, "limits": {"memory": "160Mi"}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, DEFAULT),
        ({"capacity": 67108865}, DEFAULT | {"limits": {"memory": str(160 * 2**20 + 2)}}),
        ({"resources": {"limits": {"memory": "100Mi"}}}, DEFAULT | {"limits": {"memory": "100Mi"}}),
        ({"resources": {"requests": {"cpu": 2}}}, DEFAULT | {"requests": {"cpu": "2"}}),
        ({"resources": {"requests": {"cpu": "1000m"}}}, DEFAULT | {"requests": {"cpu": "1"}}),
        ({"resources": {"requests": {"cpu": "0.25"}}}, DEFAULT | {"requests": {"cpu": "250m"}}),
        ({"resources": {"limits": {"memory": "1000M"}}}, DEFAULT | {"limits": {"memory": "1G"}}),
        (
            {"resources": {"limits": {"cpu": "20m"}}},
            {"requests": {}, "limits": {"cpu": "20m", "memory": "160Mi"}},
        ),
        (
            {"resources": {"requests": {"memory": "80Mi"}}},
            {"requests": {"cpu": "50m", "memory": "80Mi"}, "limits": {"memory": "160Mi"}},
        ),
        (
            {"resources": {"requests": {"memory": "1Gi"}}},
            {"requests": {"cpu": "50m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        ),
    ],
)
def test_resources(spec: dict[str, Any], expected: dict[str, Any]) -> None:
    assert container(**spec)["resources"] == expected


def test_without_persistence_data_is_in_the_pod() -> None:
    made = stateful_set(raw(), "valkey:1", "s-1")["spec"]
    assert made["volumeClaimTemplates"] == []
    assert made["template"]["spec"]["volumes"] == [{"name": "data", "emptyDir": {}}]
    assert container()["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        (None, {"resources": {"requests": {"storage": "128Mi"}}}),
        ({"size": "1G"}, {"resources": {"requests": {"storage": "1G"}}}),
        (
            {"storageClassName": "fast"},
            {"resources": {"requests": {"storage": "128Mi"}}, "storageClassName": "fast"},
        ),
    ],
)
def test_log_is_on_a_claim(storage: dict[str, Any] | None, expected: dict[str, Any]) -> None:
    made = stateful_set(raw(persistence="log", storage=storage), "valkey:1", "s-1")["spec"]
    (claim,) = made["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"
    assert claim["spec"] == {"accessModes": ["ReadWriteOnce"], **expected}
    assert made["template"]["spec"]["volumes"] == []


def test_claim_goes_with_the_cache_not_with_the_stateful_set() -> None:
    (claim,) = stateful_set(raw(persistence="log"), "valkey:1", "s-1")["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["ownerReferences"] == [
        {"apiVersion": "gristmill.dev/v1alpha1", "kind": "Cache", "name": "c", "uid": "u-1"}
    ]


def test_claims_of_a_stateful_set_that_is_there_stay() -> None:
    there = stateful_set(raw(persistence="log"), "valkey:1", "s-1")
    after = stateful_set(raw(persistence="log", capacity="1Gi"), "valkey:2", "s-1", there)
    assert after["spec"]["volumeClaimTemplates"] == there["spec"]["volumeClaimTemplates"]
    assert after["spec"]["template"] != there["spec"]["template"]


def seen(**status: Any) -> dict[str, Any]:
    """A StatefulSet as it is observed: ready, unless `status` says otherwise."""
    there = stateful_set(raw(), "valkey:1", "s-1")
    there["metadata"]["generation"] = 2
    ready = {"observedGeneration": 2, "readyReplicas": 1, "currentRevision": "a", "updateRevision": "a"}
    return there | {"status": ready | status}


def foreign(**metadata: Any) -> dict[str, Any]:
    there = seen()
    return there | {"metadata": {"name": "c", "ownerReferences": [{"uid": "u-0"}], **metadata}}


@pytest.mark.parametrize(
    ("observed", "ready", "reason", "words"),
    [
        (None, "False", "Starting", "StatefulSet c is not there yet"),
        (seen(readyReplicas=0), "False", "Starting", "pod c-0 is not ready"),
        (seen(readyReplicas=None), "False", "Starting", "kubectl describe pod c-0"),
        (seen() | {"status": {}}, "False", "Starting", "pod c-0 is not ready"),
        (seen(), "True", "Serving", "answers at c.apps.svc:6379"),
        (seen(observedGeneration=1), "True", "Updating", "restarts with another spec soon"),
        (seen(updateRevision="b"), "True", "Updating", "restarts with another spec soon"),
        (foreign(), "False", "NameTaken", "somebody else's; delete it, or give the Cache another name"),
        (foreign(ownerReferences=None), "False", "NameTaken", "somebody else's"),
        (
            foreign(deletionTimestamp=BEFORE),
            "False",
            "Starting",
            "waits until an earlier StatefulSet c is gone",
        ),
    ],
)
def test_status(observed: dict[str, Any] | None, ready: str, reason: str, words: str) -> None:
    made = status(raw(), observed, NOW)
    (condition,) = made["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Ready", ready, reason)
    assert words in condition["message"]
    assert condition["observedGeneration"] == 3
    assert (made["endpoint"], made["secretName"]) == ("c.apps.svc:6379", "c-auth")
    assert CacheStatus.model_validate(made).conditions[0].status == ready


@pytest.mark.parametrize(("created", "reason"), [(BEFORE, "NameTaken"), (NOW, "Starting")])
def test_status_tells_of_a_name_that_is_taken(created: str, reason: str) -> None:
    there = raw()
    there["metadata"]["creationTimestamp"] = created
    (condition,) = status(there, seen(), NOW, taken="Secret c-auth is somebody else's")["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", reason)
    assert "c-auth" in condition["message"]


def test_status_tells_what_was_refused() -> None:
    undone = ["its volume can't grow: the class forbids it", "its size can't shrink"]
    (condition,) = status(raw(), seen(), NOW, undone=undone)["conditions"]
    assert condition["status"] == "True"
    assert condition["message"] == (
        "answers at c.apps.svc:6379; its volume can't grow: the class forbids it; its size can't shrink"
    )


@pytest.mark.parametrize(
    ("size", "storage_class", "storage"),
    [
        ("", "", None),
        ("2Gi", "", {"size": "2Gi", "storageClassName": None}),
        ("", "fast", {"size": None, "storageClassName": "fast"}),
    ],
)
def test_what_the_settings_say_of_the_queue(size: str, storage_class: str, storage: Any) -> None:
    assert queue_spec("1Gi", size, storage_class) == {"capacity": "1Gi", "storage": storage}


def claimed(size: str, uid: str = "u-1") -> dict[str, Any]:
    """The claim of a Cache's data, as the API server has it."""
    return {
        "metadata": {"name": "data-c-0", "ownerReferences": [{"uid": uid}]},
        "spec": {"resources": {"requests": {"storage": size}}},
    }


@pytest.mark.parametrize(
    ("there", "grown"),
    [
        (None, None),
        (claimed("1Gi"), "2Gi"),
        (claimed("2Gi"), None),
        (claimed("3Gi"), None),
        (claimed("1Gi", "u-0"), None),
        (claimed("1e9"), None),
    ],
)
def test_a_volume_grows_with_the_spec_and_never_shrinks(
    there: dict[str, Any] | None, grown: str | None
) -> None:
    spec = raw(persistence="log", capacity="1Gi", storage={"size": "2Gi"})
    wanted = {"spec": {"resources": {"requests": {"storage": grown}}}} if grown else None
    assert growth(spec, there) == wanted


@pytest.mark.parametrize(
    ("before", "since"),
    [
        ([], NOW),
        ([{"type": "Ready", "status": "False", "lastTransitionTime": BEFORE}], NOW),
        ([{"type": "Ready", "status": "True", "lastTransitionTime": BEFORE}], BEFORE),
        ([{"type": "Other", "status": "True", "lastTransitionTime": BEFORE}], NOW),
    ],
)
def test_time_of_a_condition_is_that_of_its_change(before: list[dict[str, Any]], since: str) -> None:
    assert status(raw(before), seen(), NOW)["conditions"][0]["lastTransitionTime"] == since


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        (None, ""),
        ("", ""),
        ("user default on nopass ~* &* +@all\n", ""),
        ("user a on #1 ~a:* +@all\nuser default on #2 ~* &* +@all\n", "user a on #1 ~a:* +@all\n"),
        ("user defaulting on #1 ~* +@all\n", "user defaulting on #1 ~* +@all\n"),
    ],
)
@pytest.mark.parametrize("password", ["secret", "a '$(x)\" \\n%s é"])
def test_entry_makes_the_user_default_anew_and_keeps_others(
    tmp_path: Path, before: str | None, kept: str, password: str
) -> None:
    shell, flag, script, name = container()["command"]
    users = tmp_path / "users.acl"
    if before is not None:
        users.write_text(before)
    command = [shell, flag, script.replace("/data", str(tmp_path)), name, "printf", "%s|", "a", ""]
    environment = {"PATH": "/usr/bin:/bin", "REDISCLI_AUTH": password}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "a||"
    digest = hashlib.sha256(password.encode()).hexdigest()
    assert users.read_text() == f"user default on #{digest} ~* &* +@all\n{kept}"
    assert [path.name for path in tmp_path.iterdir()] == ["users.acl"]


def test_objects_are_json_and_nothing_of_the_cache_is_changed() -> None:
    there = raw(persistence="log")
    text = json.dumps(there)
    json.dumps(
        [
            secret(there, "pw", "salt"),
            service(there),
            stateful_set(there, "i", "s-1"),
            status(there, None, NOW),
        ]
    )
    assert json.dumps(there) == text
