"""A FileVolume on a cluster: it keeps files, for who has the key, whatever is lost, grown and taken away."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.kube import Kube, chunk_job, kubectl, shell, until
from tests.e2e.rig import deaths, dying_operator, no_operator
from tests.e2e.volumes import (
    PATIENCE,
    SMALL,
    await_ready,
    await_whole,
    condition,
    file_volume,
    holder,
    lose_server,
)

#: a volume takes some pods to start, and a repair half a minute to begin
pytestmark = pytest.mark.timeout(600)
#: cuts the end off each index that has an entry, and tells of which of SeaweedFS's volumes
TEAR = """
cd /data
for index in *.idx; do
    size=$(stat -c %s $index)
    [ $size -gt 0 ] && truncate -s $((size - 5)) $index && echo ${index%.idx}
done
true
"""
CLIENT = (Path(__file__).parent / "volume_client.py").read_text()


@pytest.fixture(autouse=True)
def _no_disk_stays(kube: Kube) -> Iterator[None]:
    """Have pods and disks gone before the next test: a node has room for a few volumes only."""
    yield
    kube.ctl("delete", "chunkjobs,filevolumes", "--all", "--timeout=60s", code=None)
    kube.ctl("delete", "pods,pvc", "--all", "--now", "--wait=false", code=None)


def change(kube: Kube, code: int = 0, **spec: Any) -> str:
    return kube.ctl("patch", "fvol", "files", "--type=merge", "-p", json.dumps({"spec": spec}), code=code)


def client(kube: Kube) -> None:
    """Start a pod with the key and a program that uses it."""
    pod = shell("client", "none", "sleep", "100000")
    key = {"name": "data", "secret": {"secretName": "files-volume"}}
    pod["spec"] |= {"volumes": [key], "terminationGracePeriodSeconds": 0}
    (container,) = pod["spec"]["containers"]
    container["volumeMounts"][0]["mountPath"] = "/var/run/gristmill/volumes/files"
    container["env"] = [{"name": "VOLUME", "value": "files"}]
    kube.apply(pod)
    kube.ctl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")


def ask(kube: Kube, *words: str) -> Any:
    """Have the client do something, and return what came of it."""
    return json.loads(kube.ctl("exec", "client", "--", "python", "-c", CLIENT, *words))


def put(kube: Kube, stop: int, first: int = 0) -> None:
    assert ask(kube, "put", str(first), str(stop)) == []


def assert_all_there(kube: Kube, stop: int) -> None:
    assert ask(kube, "check", "0", str(stop)) == []


def restart(kube: Kube, pod: str, *how: str) -> None:
    """Delete a pod, and wait until the next of its name is ready."""
    former = (kube.get("pod", pod) or {})["metadata"]["uid"]
    kube.ctl("delete", "pod", pod, *how)
    until(
        lambda: (kube.get("pod", pod) or {"metadata": {"uid": former}})["metadata"]["uid"] != former, PATIENCE
    )
    kube.ctl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=90s")


def disks(kube: Kube) -> set[str]:
    return {one["metadata"]["name"] for one in kube.all("pvc", "gristmill.dev/filevolume=files")}


def test_who_has_the_key_reads_and_writes_and_nobody_else(kube: Kube) -> None:
    kube.apply(file_volume())
    await_ready(kube)
    await_whole(kube, 4)
    client(kube)
    put(kube, 20)
    assert_all_there(kube, 20)
    secret = kube.get("secret", "files-volume")
    assert secret is not None
    key, url = (base64.b64decode(secret["data"][name]).decode() for name in ("key", "url"))
    assert ask(kube, "status", "GET", f"{url}/tests/file-00001", key) == 200
    server = f"http://files-server-0.files-server.{kube.namespace}.svc:8080"
    for wrong in ([], ["another key"]):
        for method in ("GET", "PUT", "DELETE"):
            assert ask(kube, "status", method, f"{url}/tests/file-00001", *wrong) == 401
        assert ask(kube, "status", "GET", f"{url}/", *wrong) == 401
        for volume in range(1, 8):
            for method in ("PUT", "DELETE"):
                assert ask(kube, "status", method, f"{server}/{volume},01637037d6", *wrong) == 401
            assert ask(kube, "status", "GET", f"{server}/{volume},01637037d6", *wrong) in (401, 404)
    assert_all_there(kube, 20)
    status = (kube.get("fvol", "files") or {})["status"]
    assert (status["endpoint"], status["secretName"]) == (
        f"files-volume.{kube.namespace}.svc:8888",
        "files-volume",
    )


def test_delete_leaves_nothing(kube: Kube) -> None:
    kube.apply(file_volume(deletionPolicy="Delete", **SMALL))
    await_ready(kube)
    assert len(disks(kube)) == 5
    kube.ctl("delete", "fvol", "files")
    kinds = "statefulsets,services,pods,secrets,pvc,jobs,poddisruptionbudgets,networkpolicies"
    until(lambda: not kube.all(kinds, "gristmill.dev/filevolume=files"), PATIENCE)


def test_retain_keeps_and_is_taken_up_again_by_one_with_fewer_servers(kube: Kube) -> None:
    kube.apply(file_volume(copies=2, servers=4))
    await_ready(kube)
    await_whole(kube, 4)
    client(kube)
    put(kube, 50)
    kube.ctl("delete", "pod", "client")
    kube.ctl("delete", "fvol", "files")
    until(lambda: not kube.all("pods"), PATIENCE)
    assert len(disks(kube)) == 6
    kube.apply(file_volume(**SMALL))
    until(lambda: "data-files-server-3" not in disks(kube), PATIENCE)
    await_whole(kube, 3)
    client(kube)
    assert_all_there(kube, 50)


def test_servers_come_and_go_and_nothing_is_lost(kube: Kube) -> None:
    kube.apply(file_volume())
    await_ready(kube)
    client(kube)
    put(kube, 50)
    change(kube, servers=6)
    await_whole(kube, 6)
    put(kube, 100, first=50)
    assert_all_there(kube, 100)
    change(kube, servers=4)
    until(lambda: not {"data-files-server-4", "data-files-server-5"} & disks(kube), 400)
    await_whole(kube, 4)
    assert_all_there(kube, 100)
    put(kube, 120, first=100)


def test_files_that_a_server_could_not_load_stay_when_it_goes_and_can_be_mended(kube: Kube) -> None:
    """A power cut may leave an index whose last entry is torn: the server passes over it, and tells of nothing."""
    kube.apply(file_volume(copies=1, servers=3))
    await_ready(kube)
    await_whole(kube, 3)
    client(kube)
    put(kube, 50)
    torn = kube.ctl("exec", "files-server-2", "--", "sh", "-c", TEAR).split()
    assert torn, "there is nothing on this server that could be lost"
    restart(kube, "files-server-2", "--grace-period=0", "--force")
    assert ask(kube, "check", "0", "50") != []
    change(kube, servers=2)
    kept = "data-files-server-2 is kept, though emptied"
    until(lambda: kept in condition(kube, "Ready").get("message", ""), PATIENCE)
    until(lambda: kube.get("job", "files-chore") is None)
    assert "data-files-server-2" in disks(kube)
    change(kube, servers=3)
    await_whole(kube, 3)
    for volume in torn:
        kube.ctl("exec", "files-server-2", "--", "weed", "fix", f"-volumeId={volume}", "/data")
    restart(kube, "files-server-2")
    await_whole(kube, 3)
    assert_all_there(kube, 50)
    assert kept not in condition(kube, "Ready")["message"]


def test_a_server_that_is_lost_with_its_disk_is_replaced(kube: Kube) -> None:
    kube.apply(file_volume())
    await_ready(kube)
    await_whole(kube, 4)
    client(kube)
    put(kube, 50)
    lose_server(kube, holder(kube))
    lost = time.monotonic()
    until(lambda: condition(kube, "Degraded").get("status") == "True", 60)
    put(kube, 60, first=50)
    assert_all_there(kube, 60)
    await_whole(kube, 4)
    print(f"all copies were there again after {time.monotonic() - lost:.0f} s")
    assert_all_there(kube, 60)
    until(lambda: kube.get("job", "files-chore") is None)
    assert {one["reason"] for one in kube.all("events")} & {"ServersMissing", "CopiesMissing"}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"storage": "512Mi"}, "spec.storage: Invalid value: can't shrink"),
        ({"filer": {"size": None}}, ""),
        ({"copies": 2}, "spec.copies: Invalid value: can't change; make another FileVolume"),
        ({"masters": 3}, "spec.masters: Invalid value: can't change"),
        ({"storageClassName": "fast"}, "spec.storageClassName: Invalid value: can't change"),
        ({"topologyKey": "zone"}, "spec.topologyKey: Invalid value: can't change"),
        ({"filer": {"storageClassName": "fast"}}, "spec.filer.storageClassName: Invalid value: can't change"),
        ({"servers": 3}, "spec.servers: Invalid value: must be more than copies"),
        ({"deletionPolicy": "Delete"}, ""),
        ({"servers": 9}, ""),
    ],
)
def test_what_can_not_change_is_refused(kube: Kube, spec: dict[str, Any], words: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    kube.apply({**quota, "spec": {"hard": {"pods": "0"}}}, file_volume())
    said = change(kube, 1 if words else 0, **spec)
    assert words in said


def test_the_filers_disk_can_not_shrink(kube: Kube) -> None:
    kube.apply(file_volume(filer={"size": "2Gi"}))
    for size in ("1Gi", None):
        assert "spec.filer.size: Invalid value: can't shrink" in change(kube, 1, filer={"size": size})


def test_a_disk_that_can_not_grow_is_said(kube: Kube) -> None:
    kube.apply(file_volume(**SMALL))
    await_ready(kube)
    change(kube, storage="2Gi")
    until(lambda: "data-files-server-0 can't be changed" in condition(kube, "Ready").get("message", ""))
    assert condition(kube, "Ready")["status"] == "True"


def test_a_job_waits_for_its_volume_and_the_volume_for_its_job(kube: Kube) -> None:
    source = "import time\n\ndef process(x):\n    time.sleep(1)\n    return x\n"
    kube.apply(chunk_job(process={"source": source}, output={"url": "volume://files/out"}))
    until(lambda: _progress(kube) == "NoSuchVolume")
    kube.ctl("patch", "chj", "mill", "--type=merge", "-p", '{"spec": {"suspend": true}}')
    kube.apply(file_volume(deletionPolicy="Delete", **SMALL))
    await_ready(kube)
    until(lambda: (kube.get("fvol", "files") or {"metadata": {}})["metadata"].get("finalizers"))
    kube.ctl("delete", "fvol", "files", "--wait=false")
    until(lambda: condition(kube, "Ready").get("reason") == "InUse")
    assert "ChunkJob mill" in condition(kube, "Ready")["message"]
    kube.ctl("delete", "chj", "mill")
    until(lambda: kube.get("fvol", "files") is None)


def _progress(kube: Kube) -> str:
    found = [one for one in kube.status("mill").get("conditions", ()) if one["type"] == "Progressing"]
    return found[0]["reason"] if found else ""


@pytest.mark.alone
@pytest.mark.e2e_faults
@pytest.mark.parametrize(
    "at",
    [
        "POST Secret",
        "POST Service",
        "POST PodDisruptionBudget",
        "POST NetworkPolicy",
        "POST StatefulSet",
        "PATCH FileVolume/status",
        "POST Job",
        "PATCH PersistentVolumeClaim",
        "PATCH StatefulSet",
        "DELETE PersistentVolumeClaim",
        "DELETE Job",
    ],
)
def test_the_operator_is_killed_after_a_write(kube: Kube, at: str) -> None:
    """Of a FileVolume that is made, and then gets smaller by a server."""
    scales = at in (
        "POST Job",
        "PATCH PersistentVolumeClaim",
        "PATCH StatefulSet",
        "DELETE PersistentVolumeClaim",
    )
    if scales or at == "DELETE Job":
        kube.apply(file_volume(copies=2, servers=4))
        await_whole(kube, 4)
        client(kube)
        put(kube, 30)
        with dying_operator(at):
            change(kube, servers=3)
            until(deaths, PATIENCE)
        until(lambda: "data-files-server-3" not in disks(kube), PATIENCE)
        await_whole(kube, 3)
        assert_all_there(kube, 30)
        return
    with dying_operator(at):
        kube.apply(file_volume(**SMALL))
        until(deaths)
    await_ready(kube)
    await_whole(kube, 3)
    client(kube)
    put(kube, 5)


@pytest.mark.alone
def test_files_are_there_while_the_operator_is_not(kube: Kube) -> None:
    kube.apply(file_volume(**SMALL))
    await_ready(kube)
    await_whole(kube, 3)
    client(kube)
    with no_operator():
        put(kube, 20)
        change(kube, servers=4)
        kube.ctl("delete", "pod", "files-server-1", "--now")
        kube.ctl("wait", "--for=condition=Ready", "pod/files-server-1", "--timeout=90s")
        assert_all_there(kube, 20)
    await_whole(kube, 4)
    assert_all_there(kube, 20)


@pytest.mark.alone
@pytest.mark.parametrize(("before", "last", "left"), [("Delete", "Retain", 5), ("Retain", "Delete", 0)])
def test_the_policy_that_was_said_last_counts_where_the_operator_was_not_there(
    kube: Kube, before: str, last: str, left: int
) -> None:
    kube.apply(file_volume(deletionPolicy=before, **SMALL))
    await_ready(kube)
    with no_operator():
        change(kube, deletionPolicy=last)
        kube.ctl("delete", "fvol", "files", "--wait=false")
    until(lambda: kube.get("fvol", "files") is None, PATIENCE)
    until(lambda: not kube.all("statefulsets,pods", "gristmill.dev/filevolume=files"), PATIENCE)
    until(lambda: len(disks(kube)) == left, PATIENCE)


def test_the_columns(kube: Kube) -> None:
    kube.apply(file_volume(**SMALL))
    await_ready(kube)
    head, row = kube.ctl("get", "fvol").splitlines()
    assert head.split() == ["NAME", "READY", "SERVERS", "USED", "FREE", "FILES", "UNDER-REPLICATED", "AGE"]
    assert row.split()[:2] == ["files", "True"]
    assert "files" in kubectl("get", "gristmill", "-n", kube.namespace, "-o", "name")


@pytest.mark.parametrize("masters", [1, 3])
def test_a_master_is_lost_with_its_disk(kube: Kube, masters: int) -> None:
    kube.apply(file_volume(masters=masters, **SMALL))
    await_ready(kube)
    await_whole(kube, 3)
    client(kube)
    put(kube, 20)
    kube.ctl("delete", "pvc", "data-files-master-0", "--wait=false")
    kube.ctl("delete", "pod", "files-master-0", "--grace-period=0", "--force")
    if masters == 3:
        assert_all_there(kube, 20)
    until(lambda: kube.get("pod", "files-master-0"))
    kube.ctl("wait", "--for=condition=Ready", "pod/files-master-0", "--timeout=90s")
    await_whole(kube, 3)
    put(kube, 40, first=20)
    assert_all_there(kube, 40)


def test_the_filer_is_killed(kube: Kube) -> None:
    kube.apply(file_volume(**SMALL))
    await_ready(kube)
    await_whole(kube, 3)
    client(kube)
    put(kube, 20)
    # (a quota keeps the next one away until the condition has been seen)
    kube.ctl("create", "quota", "none", "--hard=pods=0")
    kube.ctl("delete", "pod", "files-filer-0", "--grace-period=0", "--force")
    until(lambda: condition(kube, "Ready").get("status") == "False")
    kube.ctl("delete", "quota", "none")
    await_ready(kube)
    assert_all_there(kube, 20)
