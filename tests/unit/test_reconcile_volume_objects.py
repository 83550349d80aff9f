"""What a FileVolume becomes: Services, StatefulSets of masters, servers and filer, and who may reach which port."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.unit.volume_builders import SETTINGS, UID, made, resource, spec_of

from gristmill.reconcilers.volume_access import Part, secret
from gristmill.reconcilers.volume_chores import Chore, job_of
from gristmill.reconcilers.volume_pods import sizes_of, template

GIB = 2**30
KEYS = {
    "WEED_JWT_SIGNING_KEY",
    "WEED_JWT_SIGNING_READ_KEY",
    "WEED_JWT_FILER_SIGNING_KEY",
    "WEED_JWT_FILER_SIGNING_READ_KEY",
}


def of_kind(kind: str, **spec: Any) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in made(resource(**spec))[kind]}


def pod(part: Part, storage: int = GIB, **spec: Any) -> dict[str, Any]:
    volume = resource(**spec)
    pods = template(volume["metadata"], spec_of(volume), part, SETTINGS.image, "key", storage)
    return dict(pods["spec"])


def container(part: Part, storage: int = GIB, **spec: Any) -> dict[str, Any]:
    (only,) = pod(part, storage, **spec)["containers"]
    return dict(only)


def chore(what: str, server: str = "") -> dict[str, Any]:
    volume = resource()
    return job_of(Chore(what, server), volume["metadata"], spec_of(volume), SETTINGS.image)


def test_all_is_the_volumes_own() -> None:
    objects = [one for kind, found in made(resource()).items() if kind != "Pod" for one in found]
    for one in [*objects, chore("repair"), secret(resource(), "k", "s")]:
        (owner,) = one["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("FileVolume", UID, True)
        assert one["metadata"]["labels"]["gristmill.dev/uid"] == UID
        assert one["metadata"]["namespace"] == "apps"


def test_names() -> None:
    names = {
        kind: sorted(one["metadata"]["name"] for one in found) for kind, found in made(resource()).items()
    }
    del names["Pod"]
    assert names == {
        "Service": ["files-filer", "files-master", "files-server", "files-volume"],
        "StatefulSet": ["files-filer", "files-master", "files-server"],
        "PodDisruptionBudget": ["files-master", "files-server"],
        "NetworkPolicy": ["files-volume"],
    }


def test_the_secret_has_the_key_and_where_it_opens() -> None:
    made_secret = secret(resource(), "k", "s")
    assert made_secret["metadata"]["name"] == "files-volume"
    assert made_secret["stringData"] == {"key": "k", "url": "http://files-volume.apps.svc:8888"}


@pytest.mark.parametrize("part", ["master", "server", "filer"])
def test_pods_are_found_by_names_before_they_are_ready(part: str) -> None:
    spec = of_kind("Service")[f"files-{part}"]["spec"]
    assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", True)
    found = of_kind("StatefulSet")[f"files-{part}"]["spec"]
    assert found["serviceName"] == f"files-{part}"
    labels = found["template"]["metadata"]["labels"]
    assert spec["selector"] == found["selector"]["matchLabels"] == labels
    assert labels["gristmill.dev/part"] == part


def test_clients_find_the_filer_when_it_is_ready() -> None:
    spec = of_kind("Service")["files-volume"]["spec"]
    assert spec["selector"]["gristmill.dev/part"] == "filer"
    assert [port["port"] for port in spec["ports"]] == [8888]
    assert not spec.get("publishNotReadyAddresses")


@pytest.mark.parametrize("part", [Part.MASTER, Part.SERVER, Part.FILER])
def test_each_part_has_all_keys_from_the_secret_alone(part: Part) -> None:
    given = {one["name"]: one for one in container(part)["env"]}
    assert given.keys() >= KEYS
    for name in KEYS:
        assert given[name]["valueFrom"] == {"secretKeyRef": {"name": "files-volume", "key": "key"}}


def test_ids_of_pieces_are_by_time_and_by_the_master_that_gives_them() -> None:
    """Where masters have the same number, two that lead one after the other could give the same ids."""
    given = {one["name"]: one.get("value") for one in container(Part.MASTER, masters=3)["env"]}
    assert given["WEED_MASTER_SEQUENCER_TYPE"] == "snowflake"
    assert "WEED_MASTER_SEQUENCER_SEQUENCER_SNOWFLAKE_ID" not in given


@pytest.mark.parametrize("part", [Part.MASTER, Part.SERVER, Part.FILER, Part.CHORE])
def test_pods_pass_pod_security_restricted(part: Part) -> None:
    for spec in (
        [chore(what, "files-server-5")["spec"]["template"]["spec"] for what in ("repair", "inspect")]
        if part is Part.CHORE
        else [pod(part)]
    ):
        assert_restricted(spec)


def assert_restricted(spec: dict[str, Any]) -> None:
    assert spec["automountServiceAccountToken"] is False
    security = spec["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"], security["fsGroup"]) == (True, 1000, 1000)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    (one,) = spec["containers"]
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert {"name": "tmp", "emptyDir": {}} in spec["volumes"]


@pytest.mark.parametrize(
    ("part", "spec", "flag"),
    [
        (Part.MASTER, {}, "-defaultReplication=002"),
        (Part.MASTER, {"copies": 1}, "-defaultReplication=000"),
        (Part.MASTER, {"copies": 5, "servers": 6}, "-defaultReplication=004"),
        (Part.MASTER, {}, "-peers=none"),
        (
            Part.MASTER,
            {"masters": 3},
            "-peers=files-master-0.files-master.apps.svc:9333,files-master-1.files-master.apps.svc:9333,"
            "files-master-2.files-master.apps.svc:9333",
        ),
        (Part.MASTER, {}, "-telemetry=false"),
        (Part.MASTER, {}, "-ip=$(POD).files-master.apps.svc"),
        (Part.MASTER, {}, "-volumeSizeLimitMB=57"),
        (Part.SERVER, {}, "-max=15"),
        (Part.SERVER, {}, "-readMode=local"),
        (Part.SERVER, {}, "-master=files-master-0.files-master.apps.svc:9333"),
        (Part.SERVER, {}, "-ip=$(POD).files-server.apps.svc"),
        (Part.FILER, {}, "-master=files-master-0.files-master.apps.svc:9333"),
        (Part.FILER, {}, "-maxMB=4"),
    ],
)
def test_flags(part: Part, spec: dict[str, Any], flag: str) -> None:
    assert flag in container(part, **spec)["command"]


@pytest.mark.parametrize("storage", [GIB // 2, GIB, 10 * GIB, 100 * GIB, 3 * 2**40, 64 * 2**40])
def test_no_more_is_promised_than_the_disk_has(storage: int) -> None:
    sizes = sizes_of(storage)
    # (a volume that is cleaned is there twice)
    assert (sizes.most + 1) * sizes.limit * 2**20 <= storage * 0.9
    assert (sizes.most + 2) * sizes.limit * 2**20 > storage * 0.8
    assert sizes.most >= 15
    assert 28 <= sizes.limit <= 30_000


@pytest.mark.parametrize(
    ("part", "spec", "how"),
    [
        (Part.SERVER, {}, "preferred"),
        (Part.SERVER, {"topologyKey": "topology.kubernetes.io/zone"}, "required"),
        (Part.MASTER, {"masters": 3, "topologyKey": "topology.kubernetes.io/zone"}, "preferred"),
    ],
)
def test_pods_of_a_part_are_apart(part: Part, spec: dict[str, Any], how: str) -> None:
    (kind, (term,)), = pod(part, **spec)["affinity"]["podAntiAffinity"].items()  # fmt: skip
    assert kind == f"{how}DuringSchedulingIgnoredDuringExecution"
    term = term.get("podAffinityTerm", term)
    assert term["topologyKey"] == spec.get("topologyKey", "kubernetes.io/hostname")
    assert term["labelSelector"]["matchLabels"]["gristmill.dev/part"] == str(part)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_disks_stay_or_go_with_the_volume_and_never_with_a_smaller_number(policy: str) -> None:
    for found in of_kind("StatefulSet", deletionPolicy=policy).values():
        expected = {"whenDeleted": policy, "whenScaled": "Retain"}
        assert found["spec"]["persistentVolumeClaimRetentionPolicy"] == expected


def test_claims() -> None:
    spec = {
        "storage": "2Gi",
        "storageClassName": "fast",
        "filer": {"size": "3Gi", "storageClassName": "replicated"},
    }
    claims = {
        name: found["spec"]["volumeClaimTemplates"][0]
        for name, found in of_kind("StatefulSet", **spec).items()
    }
    said = {
        name: (one["spec"]["resources"]["requests"]["storage"], one["spec"]["storageClassName"])
        for name, one in claims.items()
    }
    assert said == {
        "files-master": ("1Gi", "fast"), "files-server": ("2Gi", "fast"), "files-filer": ("3Gi", "replicated"),
    }  # fmt: skip
    for one in claims.values():
        # (the next FileVolume of the name takes them up)
        assert "gristmill.dev/uid" not in one["metadata"]["labels"]
        assert one["metadata"]["labels"]["gristmill.dev/filevolume"] == "files"
        assert "ownerReferences" not in one["metadata"]


def test_resources_are_the_servers() -> None:
    spec = {"resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}}}
    assert container(Part.SERVER, **spec)["resources"] == {
        "requests": {"cpu": "1"},
        "limits": {"memory": "1Gi"},
    }
    assert container(Part.FILER, **spec)["resources"]["requests"] == {"cpu": "50m", "memory": "128Mi"}


def test_ports_without_a_key_are_for_the_volume_and_masters_for_the_operator() -> None:
    spec = of_kind("NetworkPolicy")["files-volume"]["spec"]
    open_to_all = [rule for rule in spec["ingress"] if "from" not in rule]
    assert [[port["port"] for port in rule["ports"]] for rule in open_to_all] == [[8888, 8080]]
    own, operator = (rule for rule in spec["ingress"] if "from" in rule)
    assert own["from"][0]["podSelector"] == spec["podSelector"]
    assert spec["podSelector"]["matchLabels"]["gristmill.dev/uid"] == UID
    assert [port["port"] for port in operator["ports"]] == [9333]
    (who,) = operator["from"]
    assert who["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "home"}


@pytest.mark.parametrize("part", ["server", "master"])
def test_one_at_a_time_is_evicted(part: str) -> None:
    spec = of_kind("PodDisruptionBudget")[f"files-{part}"]["spec"]
    assert spec["maxUnavailable"] == 1
    assert spec["selector"]["matchLabels"]["gristmill.dev/part"] == part


@pytest.mark.parametrize(
    ("what", "server", "command"),
    [
        ("repair", "", "volume.fix.replication -apply"),
        (
            "evacuate",
            "files-server-5",
            "volumeServer.evacuate -node files-server-5.files-server.apps.svc:8080 -skipNonMoveable -apply",
        ),
        (
            "leave",
            "files-server-5",
            "volumeServer.leave -node files-server-5.files-server.apps.svc:8080 -apply",
        ),
    ],
)
def test_chores(what: str, server: str, command: str) -> None:
    job = chore(what, server)
    assert job["metadata"]["name"] == "files-chore"
    assert job["metadata"]["annotations"]["gristmill.dev/chore"] == f"{what} {server}".strip()
    (one,) = job["spec"]["template"]["spec"]["containers"]
    assert one["command"][-3:] == ["lock", command, "unlock"]
    assert job["spec"]["backoffLimit"] == 0


def test_a_look_reads_one_disk_and_has_no_key() -> None:
    job = chore("inspect", "files-server-5")
    assert job["metadata"]["annotations"]["gristmill.dev/chore"] == "inspect files-server-5"
    spec = job["spec"]["template"]["spec"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "data-files-server-5"}} in spec["volumes"]
    (one,) = spec["containers"]
    assert {"name": "data", "mountPath": "/data", "readOnly": True} in one["volumeMounts"]
    assert "env" not in one
    assert (job["spec"]["backoffLimit"], spec["restartPolicy"]) == (0, "Never")


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ([], 0),
        (["vol_dir.uuid"], 0),
        (["vol_dir.uuid", "lost+found/1"], 0),
        (["vol_dir.uuid", "7.dat"], 42),
        (["7.idx"], 42),
        (["7.vif"], 42),
        (["7.ec03"], 42),
        (["lost/7.dat"], 42),
        (["a name\nof two lines"], 42),
    ],
)
def test_a_look_ends_with_what_it_found(tmp_path: Path, files: list[str], code: int) -> None:
    """What a server that was emptied leaves is `vol_dir.uuid`, and some file systems make `lost+found`."""
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert look(tmp_path) == code
    (rule,) = chore("inspect", "files-server-5")["spec"]["podFailurePolicy"]["rules"]
    assert rule == {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}


def test_a_look_that_can_not_be_had_says_nothing(tmp_path: Path) -> None:
    assert look(tmp_path / "none") == 1


def look(folder: Path) -> int:
    """Run what the chore runs, of another folder; return its exit code."""
    (one,) = chore("inspect", "files-server-5")["spec"]["template"]["spec"]["containers"]
    command = [word.replace("/data", str(folder)) for word in one["command"]]
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode


def test_objects_are_json_and_nothing_of_the_volume_is_changed() -> None:
    volume = resource()
    text = json.dumps(volume)
    json.dumps([made(volume), secret(volume, "k", "s"), chore("repair"), chore("inspect", "files-server-5")])
    assert json.dumps(volume) == text
