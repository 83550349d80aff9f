"""What the operator does about FileVolumes: what it writes, asks, and says of refusals."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.builders import chunk_job, file_volume
from tests.unit.fake_api import FakeApi
from tests.unit.test_operating import config
from tests.unit.volume_builders import claim

from gristmill.controllers.cluster import ApiError, Cluster
from gristmill.controllers.master_link import MasterLink
from gristmill.controllers.volumes import Volumes
from gristmill.controllers.world import World

KEY = ("apps", "files")


class Pods:
    """What answers at the addresses of pods."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}

    async def ask(self, address: str, port: int, path: str) -> Any:
        """Return the answer of a pod."""
        return self.answers.get(f"{address}:{port}{path}")


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


class Rig:
    """A FileVolume, its operator, an API server, and pods that answer."""

    def __init__(self, api: FakeApi, **spec: Any) -> None:
        self.api, self.world, self.pods = api, World(), Pods()
        made = file_volume("files", **spec)
        made["metadata"] |= {"namespace": "apps", "generation": 1}
        self.put("FileVolume", api.add("FileVolume", made))
        self.volumes = Volumes(config(), Cluster(api), self.world, self.pods)  # type: ignore[arg-type]

    def put(self, kind: str, found: dict[str, Any]) -> None:
        """Have a watch tell of an object."""
        self.world.put(kind, found)

    def pass_once(self) -> float | None:
        """Reconcile once."""
        return asyncio.run(self.volumes.reconcile(KEY))

    def condition(self, kind: str) -> dict[str, Any]:
        """Return a condition as it was written."""
        (volume,) = self.api.all("FileVolume")
        (found,) = [one for one in volume["status"]["conditions"] if one["type"] == kind]
        return dict(found)

    def start(self, servers: int = 4) -> None:
        """Do what Kubernetes does: pods, claims, and what masters say of them."""
        nodes, held = [], {}
        for found in self.api.all("StatefulSet"):
            name, labels = found["metadata"]["name"], found["spec"]["template"]["metadata"]["labels"]
            found["status"] = {"readyReplicas": found["spec"]["replicas"]}
            for number in range(found["spec"]["replicas"]):
                owner = {"uid": found["metadata"]["uid"]}
                metadata = {"name": f"{name}-{number}", "namespace": "apps", "labels": labels}
                ip = f"10.0.{['master', 'server', 'filer'].index(labels['gristmill.dev/part'])}.{number}"
                self.api.add(
                    "Pod",
                    {
                        "metadata": metadata | {"ownerReferences": [owner]},
                        "status": {"podIP": ip, "phase": "Running"},
                    },
                )
                disk = claim(labels["gristmill.dev/part"], number)
                self.api.add("PersistentVolumeClaim", disk)
        for number in range(servers):
            address = f"files-server-{number}.files-server.apps.svc:8080"
            nodes.append({"Url": address, "Volumes": 0, "Max": 15})
            held[address] = None
        self.pods.answers |= {
            "10.0.0.0:9333/dir/status": {"Topology": {"DataCenters": [{"Racks": [{"DataNodes": nodes}]}]}},
            "10.0.0.0:9333/vol/status": {"Volumes": {"DataCenters": {"d": {"r": held}}}},
        }


def test_it_is_made_and_gets_ready(api: FakeApi) -> None:
    rig = Rig(api)
    assert rig.pass_once() == 1.0
    assert rig.condition("Ready")["reason"] == "Starting"
    rig.start()
    calls = len(api.calls)
    assert rig.pass_once() == 5.0
    ready = rig.condition("Ready")
    assert (ready["status"], ready["message"]) == ("True", "answers at files-volume.apps.svc:8888")
    changed = [call for call in api.calls[calls:] if not call.startswith("GET")]
    assert {call.rpartition("/")[2] for call in changed} <= {"status", "events", "secrets", "files-volume"}


def test_a_pass_over_what_is_as_it_should_be_writes_nothing(api: FakeApi) -> None:
    rig = Rig(api)
    rig.pass_once()
    rig.start()
    for _ in range(2):
        rig.pass_once()
    calls = len(api.calls)
    rig.pass_once()
    assert all(call.startswith("GET") for call in api.calls[calls:])


def test_the_key_is_made_once(api: FakeApi) -> None:
    rig = Rig(api)
    rig.pass_once()
    (found,) = api.all("Secret")
    key = base64.b64decode(found["data"]["key"])
    assert len(key) == 48
    rig.pass_once()
    (found,) = api.all("Secret")
    assert base64.b64decode(found["data"]["key"]) == key


def test_a_key_that_was_taken_out_is_made_anew_and_pods_restart_with_it(api: FakeApi) -> None:
    rig = Rig(api)
    rig.pass_once()
    (found,) = api.all("Secret")
    former = dict(found["data"])
    templates = [json.dumps(one["spec"]["template"]) for one in api.all("StatefulSet")]
    found["data"] = {}
    rig.pass_once()
    (found,) = api.all("Secret")
    assert found["data"]["key"] not in ("", former["key"])
    assert found["data"]["url"] == former["url"]
    assert all(
        json.dumps(one["spec"]["template"]) != before
        for one, before in zip(api.all("StatefulSet"), templates, strict=True)
    )


@pytest.mark.parametrize(
    "made",
    ["api/v1/namespaces/apps/secrets", "api/v1/namespaces/apps/services", "apis/apps/v1", "apis/policy/v1"],
)
def test_what_can_not_be_made_is_said_and_tried_again(api: FakeApi, made: str) -> None:
    rig = Rig(api)
    api.refusals[f"POST /{made}"] = (403, "exceeded quota: few")
    assert rig.pass_once() == 5.0
    assert rig.condition("Ready")["reason"] == "QuotaExceeded"
    api.refusals.clear()
    rig.pass_once()
    assert rig.condition("Ready")["reason"] == "Starting"
    assert len(api.all("StatefulSet")) == 3


def test_a_secret_of_somebody_else_is_left_alone(api: FakeApi) -> None:
    rig = Rig(api)
    foreign = {"metadata": {"name": "files-volume", "namespace": "apps"}, "stringData": {"a": "b"}}
    api.add("Secret", foreign)
    assert rig.pass_once() == 2.0
    assert rig.condition("Ready")["reason"] == "NameTaken"
    (found,) = api.all("Secret")
    assert set(found["data"]) == {"a"}
    assert api.all("StatefulSet") == []


def test_disks_that_can_not_grow_are_said(api: FakeApi) -> None:
    rig = Rig(api)
    rig.pass_once()
    rig.start()
    (volume,) = api.all("FileVolume")
    volume["spec"]["storage"] = "2Gi"
    rig.put("FileVolume", api.add("FileVolume", volume))
    api.refusals["PATCH /api/v1/namespaces/apps/persistentvolumeclaims"] = (
        403,
        "only dynamically provisioned",
    )
    rig.pass_once()
    ready = rig.condition("Ready")
    assert ready["status"] == "True"
    assert "data-files-server-0 can't be changed: only dynamically provisioned" in ready["message"]


def test_a_server_that_goes_is_asked_what_it_has(api: FakeApi) -> None:
    rig = Rig(api, servers=5)
    rig.pass_once()
    rig.start(servers=4)
    (volume,) = api.all("FileVolume")
    volume["spec"]["servers"] = 4
    rig.put("FileVolume", api.add("FileVolume", volume))
    job = {
        "metadata": {
            "name": "files-chore", "namespace": "apps", "annotations": {"gristmill.dev/chore": "leave files-server-4"},
            "labels": {"gristmill.dev/uid": volume["metadata"]["uid"]},
            "ownerReferences": [{"uid": volume["metadata"]["uid"]}],
        },
        "status": {"conditions": [
            {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]},
    }  # fmt: skip
    api.add("Job", job)
    rig.pass_once()
    assert not marked(api)
    rig.pods.answers["10.0.1.4:8080/status"] = {"Volumes": [{"Id": 1}]}
    last = api.objects["Pod", "apps", "files-server-4"]
    rig.pass_once()
    assert not marked(api)
    assert ("Pod", "apps", "files-server-4") not in api.objects
    api.add("Pod", last)
    rig.pods.answers["10.0.1.4:8080/status"] = {"Volumes": []}
    rig.pass_once()
    assert marked(api) == ["data-files-server-4"]
    rig.pass_once()
    (servers,) = [one for one in api.all("StatefulSet") if one["metadata"]["name"] == "files-server"]
    assert servers["spec"]["replicas"] == 4
    del api.objects["Pod", "apps", "files-server-4"]
    for _ in range(3):
        rig.pass_once()
    assert marked(api) == ["data-files-server-4"]
    (look,) = api.all("Job")
    assert look["metadata"]["annotations"] == {"gristmill.dev/chore": "inspect files-server-4"}
    api.add("Job", {**look, "status": job["status"]})
    rig.pass_once()
    names = [one["metadata"]["name"] for one in api.all("PersistentVolumeClaim")]
    assert "data-files-server-4" not in names
    assert "data-files-server-3" in names


def marked(api: FakeApi) -> list[str]:
    return [
        one["metadata"]["name"]
        for one in api.all("PersistentVolumeClaim")
        if "gristmill.dev/emptied" in (one["metadata"].get("annotations") or {})
    ]


# -- ChunkJobs


def a_job(api: FakeApi, **more: Any) -> dict[str, Any]:
    job = chunk_job("mill", input={"lines": {"url": "volume://files/text/*"}}, **more)
    job["metadata"]["namespace"] = "apps"
    return api.add("ChunkJob", job)


def delete(rig: Rig, **spec: Any) -> None:
    """Do what `kubectl delete` does, after a change of the spec."""
    (volume,) = rig.api.all("FileVolume")
    volume["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    volume["spec"] |= spec
    rig.put("FileVolume", rig.api.add("FileVolume", volume))


def is_held(api: FakeApi) -> bool:
    (volume,) = api.all("FileVolume")
    return volume["metadata"]["finalizers"] == ["gristmill.dev/disks"]


def test_it_is_held_from_before_it_has_disks(api: FakeApi) -> None:
    rig = Rig(api)
    rig.pass_once()
    assert is_held(api)
    volume = "PATCH /apis/gristmill.dev/v1alpha1/namespaces/apps/filevolumes/files"
    sets = "POST /apis/apps/v1/namespaces/apps/statefulsets"
    assert api.calls.index(volume) < api.calls.index(sets)


def test_a_deleted_one_is_held_while_a_job_uses_it_and_let_go_after(api: FakeApi) -> None:
    rig = Rig(api)
    rig.pass_once()
    job = a_job(api)
    rig.put("ChunkJob", job)
    delete(rig)
    assert not rig.volumes.is_news(KEY)
    rig.pass_once()
    assert rig.condition("Ready")["reason"] == "InUse"
    ended = {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    rig.put("ChunkJob", api.add("ChunkJob", {**job, **ended}))
    assert rig.volumes.is_news(KEY)
    rig.pass_once()
    assert not is_held(api)


def test_a_deleted_one_is_let_go_when_kubernetes_keeps_its_disks(api: FakeApi) -> None:
    rig = Rig(api, deletionPolicy="Delete")
    rig.pass_once()
    rig.start()
    delete(rig, deletionPolicy="Retain")
    rig.pass_once()
    policies = [one["spec"]["persistentVolumeClaimRetentionPolicy"] for one in api.all("StatefulSet")]
    assert policies == [{"whenDeleted": "Retain", "whenScaled": "Retain"}] * 3
    assert is_held(api)
    assert rig.condition("Ready")["reason"] == "Removing"
    rig.pass_once()
    assert not is_held(api)


def test_a_deletion_ends_where_kubernetes_refuses_to_be_told_of_disks(api: FakeApi) -> None:
    rig = Rig(api)
    rig.pass_once()
    rig.start()
    delete(rig, deletionPolicy="Delete")
    api.refusals["PATCH /apis/apps/v1/namespaces/apps/statefulsets"] = (403, "a policy says no")
    for _ in range(3):
        assert rig.pass_once() == 5.0
        assert is_held(api)
    assert "the API server refuses it: a policy says no" in rig.condition("Ready")["message"]
    (volume,) = api.all("FileVolume")
    for one in volume["status"]["conditions"]:
        one["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    rig.put("FileVolume", api.add("FileVolume", volume))
    rig.pass_once()
    assert not is_held(api)


def test_a_disk_that_is_to_stay_is_not_let_go_while_kubernetes_would_delete_it(api: FakeApi) -> None:
    rig = Rig(api, deletionPolicy="Delete")
    rig.pass_once()
    rig.start()
    for found in api.all("PersistentVolumeClaim"):
        part = found["metadata"]["name"].removeprefix("data-").rpartition("-")[0]
        owner = {"kind": "StatefulSet", "uid": api.objects["StatefulSet", "apps", part]["metadata"]["uid"]}
        found["metadata"]["ownerReferences"] = [owner]
    claims = "PATCH /api/v1/namespaces/apps/persistentvolumeclaims"
    api.refusals[claims] = (422, "a policy says no")
    api.refusals["PATCH /apis/apps/v1/namespaces/apps/statefulsets"] = (422, "a policy says no")
    delete(rig, deletionPolicy="Retain")
    rig.pass_once()
    (volume,) = api.all("FileVolume")
    for one in volume["status"]["conditions"]:
        one["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    rig.put("FileVolume", api.add("FileVolume", volume))
    for _ in range(3):
        assert rig.pass_once() == 5.0
        assert is_held(api)
    message = rig.condition("Ready")["message"]
    assert "the API server refuses it: a policy says no; Kubernetes would delete" in message
    del api.refusals[claims]
    rig.pass_once()
    assert all(not one["metadata"]["ownerReferences"] for one in api.all("PersistentVolumeClaim"))
    assert is_held(api)
    rig.pass_once()
    assert not is_held(api)


@pytest.mark.parametrize(
    ("namespace", "held"), [({"deletionTimestamp": "2026-01-01T00:00:00Z"}, False), ({}, True), (None, False)]
)
def test_it_goes_with_a_namespace_that_took_the_operators_role_along(
    api: FakeApi, namespace: dict[str, Any] | None, *, held: bool
) -> None:
    """Nobody can see then what is left there."""
    rig = Rig(api)
    rig.pass_once()
    rig.start()
    delete(rig)
    if namespace is not None:
        api.add("Namespace", {"metadata": {"name": "apps", "namespace": "", **namespace}})
    api.refusals["GET /apis"] = api.refusals["GET /api/v1/namespaces/apps/"] = (403, "no RBAC policy matched")
    for _ in range(2):
        with pytest.raises(ApiError, match="no RBAC") if held else nullcontext():
            rig.pass_once()
        assert is_held(api) == held


def test_a_job_keeps_it_in_a_namespace_that_is_deleted(api: FakeApi) -> None:
    rig = Rig(api)
    rig.pass_once()
    delete(rig)
    rig.put("ChunkJob", a_job(api))
    api.refusals["GET /apis"] = (403, "no RBAC policy matched")
    with pytest.raises(ApiError, match="no RBAC"):
        rig.pass_once()
    assert is_held(api)


def test_nobody_is_asked_about_one_that_goes(api: FakeApi) -> None:
    rig = Rig(api)
    rig.pass_once()
    rig.start()
    delete(rig)
    rig.pods.answers = {}
    rig.pass_once()
    assert not is_held(api)


def test_jobs_elsewhere_hold_nothing(api: FakeApi) -> None:
    rig = Rig(api)
    job = a_job(api)
    job["metadata"]["namespace"] = "other"
    rig.put("ChunkJob", job)
    assert rig.volumes.users(KEY) == []


# -- asking


@contextmanager
def answering(status: int, body: bytes, location: str = "") -> Iterator[int]:
    """Give the port of a server that answers everything so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def ask(port: int) -> Any:
    async def asking() -> Any:
        link = MasterLink()
        try:
            return await link.ask("127.0.0.1", port, "/dir/status")
        finally:
            await link.close()

    return asyncio.run(asking())


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [(200, b'{"a": 1}', {"a": 1}), (200, b"<html>", None), (500, b"{}", None), (404, b"", None)],
)
def test_a_master_is_asked(status: int, body: bytes, expected: Any) -> None:
    with answering(status, body) as port:
        assert ask(port) == expected


def test_nobody_is_sent_elsewhere() -> None:
    with answering(200, b"{}") as other, answering(302, b"{}", f"http://127.0.0.1:{other}/") as port:
        assert ask(port) is None


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gristmill.controllers.master_link._MOST_BYTES", 10)
    with answering(200, b'["' + b"x" * 100 + b'"]') as port:
        assert ask(port) is None


def test_who_is_not_there_says_nothing() -> None:
    with answering(200, b"{}") as port:
        pass
    assert ask(port) is None
