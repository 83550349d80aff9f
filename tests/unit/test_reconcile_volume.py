"""What is decided about a FileVolume: what is made, repaired, emptied, given up, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.volume_builders import (
    NOW,
    UID,
    chore,
    claim,
    decided,
    degraded,
    made,
    observed,
    pod,
    resource,
    told,
    topology,
)

from gristmill.api.filevolume import FileVolumeStatus
from gristmill.reconcilers.actions import Patch, SetFinalizer
from gristmill.reconcilers.times import text_of
from gristmill.reconcilers.volume_observed import VolumeObserved
from gristmill.reconcilers.volume_status import status
from gristmill.reconcilers.volume_topology import NOT_ANSWERS, topology_of

# -- making


def test_all_is_made_at_once_when_the_key_is_there() -> None:
    fresh = VolumeObserved(resource(), key="key")
    kinds = [words.split()[1] for words in told(decided(fresh))]
    assert kinds == [
        *["Service"] * 4, *["PodDisruptionBudget"] * 2, "NetworkPolicy", *["StatefulSet"] * 3,
    ]  # fmt: skip
    assert "StatefulSet" not in [words.split()[1] for words in told(decided(replace(fresh, key="")))]


def test_what_is_there_is_left_alone() -> None:
    assert told(decided(observed())) == []


def test_what_has_its_label_and_another_owner_is_not_its_own() -> None:
    objects = made(resource())
    for one in objects["Service"]:
        one["metadata"]["ownerReferences"] = [{"uid": "other"}]
    assert told(decided(observed(objects=objects))) == [
        f"create Service files-{name}" for name in ("master", "server", "filer", "volume")
    ]


def test_another_key_restarts_the_pods() -> None:
    words = told(decided(observed(key="another")))
    assert [word for word in words if "template" in word] == [
        f"patch StatefulSet files-{part}: persistentVolumeClaimRetentionPolicy,replicas,template"
        for part in ("master", "server", "filer")
    ]


def test_the_deletion_policy_can_change() -> None:
    seen = replace(observed(), resource=resource(deletionPolicy="Delete"))
    patches = [one for one in decided(seen).actions if isinstance(one, Patch)]
    policies = [one.body["spec"]["persistentVolumeClaimRetentionPolicy"] for one in patches]
    assert policies == [{"whenDeleted": "Delete", "whenScaled": "Retain"}] * 3


# -- more and larger


def test_disks_grow_and_more_is_promised_only_when_they_have() -> None:
    seen = observed(resource(storage="2Gi"), objects=made(resource()))
    assert told(decided(seen)) == [
        f"patch PersistentVolumeClaim data-files-server-{number}: resources" for number in range(4)
    ]
    grown = [claim("server", number, "2Gi") for number in range(4)]
    words = told(decided(replace(seen, claims=[*grown, claim("filer", 0)])))
    assert [word.partition(":")[0] for word in words] == ["patch StatefulSet files-master"]


def test_the_filers_disk_grows() -> None:
    assert told(decided(observed(resource(filer={"size": "2Gi"})))) == [
        "patch PersistentVolumeClaim data-files-filer-0: resources"
    ]


def replicas(seen: VolumeObserved) -> int | None:
    """Return how many servers the StatefulSet is to have; None where it is left as it is."""
    for action in decided(seen).actions:
        if isinstance(action, Patch) and action.name == "files-server":
            return int(action.body["spec"]["replicas"])
    return None


def test_more_servers_join_at_once() -> None:
    assert replicas(observed(resource(servers=6))) == 6


def test_disks_of_an_earlier_volume_have_their_servers() -> None:
    earlier = [claim("server", number) for number in range(6)]
    (servers,) = [
        action.manifest["spec"]["replicas"]
        for action in decided(VolumeObserved(resource(), key="key", claims=earlier)).actions
        if getattr(action, "manifest", {}).get("metadata", {}).get("name") == "files-server"
        and action.manifest["kind"] == "StatefulSet"  # type: ignore[attr-defined]
    ]
    assert servers == 6


@pytest.mark.parametrize(
    "claims", [[claim("server", 4, emptied=True)], [claim("server", 4, deletionTimestamp="t")]]
)
def test_disks_that_are_going_have_no_servers(claims: list[dict[str, Any]]) -> None:
    seen = observed()
    assert replicas(replace(seen, claims=[*seen.claims, *claims])) is None


def test_disks_that_kubernetes_deletes_with_a_former_stateful_set_are_given_to_no_other() -> None:
    """It deletes them some time after that: a server on one would lose all at its next start."""
    owner = [{"kind": "StatefulSet", "name": "files-server", "uid": "former"}]
    seen = VolumeObserved(resource(), key="key", claims=[claim("server", 0, ownerReferences=owner)])
    sets = [words for words in told(decided(seen)) if "StatefulSet" in words]
    assert sets == ["create StatefulSet files-master", "create StatefulSet files-filer"]
    there = made(resource())
    there["StatefulSet"] = [one for one in there["StatefulSet"] if one["metadata"]["name"] != "files-server"]
    message = condition(status(replace(seen, objects=there), NOW), "Ready")["message"]
    assert (
        message == "StatefulSet files-server is not there yet: the disks of an earlier one are being deleted"
    )
    its_own = observed(deletion := resource(deletionPolicy="Delete"), objects=made(deletion))
    its_own = replace(its_own, claims=[claim("server", n, ownerReferences=owner) for n in range(4)])
    assert told(decided(its_own)) == []


# -- fewer


def fewer(job: dict[str, Any] | None = None, **facts: Any) -> VolumeObserved:
    """Return a FileVolume of six servers that is to have four."""
    return observed(resource(), 6, job, **facts)


def without_last(volumes: int = 3) -> Any:
    return topology(5, volumes)


def test_the_last_server_is_emptied_first() -> None:
    assert told(decided(fewer())) == ["create Job evacuate files-server-5"]


def test_an_empty_server_leaves() -> None:
    empty = topology(6)
    empty = replace(empty, servers={**empty.servers, "files-server-5": 0})
    assert told(decided(fewer(topology=empty))) == ["create Job leave files-server-5"]


def left(ended: float | None = 3, **facts: Any) -> VolumeObserved:
    """Return what is there when the last server has left its masters."""
    volume = resource()
    return fewer(chore(volume, "leave files-server-5", ended), topology=without_last(), **facts)


def test_a_server_that_has_left_empty_gives_its_disk_up() -> None:
    assert told(decided(left(on_last=0))) == [
        "patch PersistentVolumeClaim data-files-server-5: gristmill.dev/emptied"
    ]


@pytest.mark.parametrize("facts", [{"on_last": None}, {"on_last": 0, "ended": None}])
def test_what_is_not_known_to_be_empty_stays(facts: dict[str, Any]) -> None:
    assert told(decided(left(**facts))) == []


def test_a_server_that_is_away_and_was_not_seen_empty_stays() -> None:
    assert told(decided(fewer(topology=without_last(), on_last=0))) == []


def test_a_server_that_got_something_before_it_left_comes_back() -> None:
    assert told(decided(left(on_last=1))) == ["delete Pod files-server-5"]
    again = left(on_last=1)
    pods = [*again.objects["Pod"][:-2], pod("server", 5, NOW - 1), pod("filer", 0)]
    assert told(decided(replace(again, objects={**again.objects, "Pod": pods}))) == ["delete Job files-chore"]


def with_marked(seen: VolumeObserved, number: int = 5) -> VolumeObserved:
    marked = claim("server", number, emptied=True)
    others = [one for one in seen.claims if one["metadata"]["name"] != marked["metadata"]["name"]]
    return replace(seen, claims=[*others, marked])


def test_one_server_less_when_its_disk_is_given_up() -> None:
    assert replicas(with_marked(left(on_last=0))) == 5


def test_an_emptied_server_that_is_back_with_its_masters_stays() -> None:
    back = with_marked(fewer())
    assert replicas(back) is None
    assert "patch PersistentVolumeClaim data-files-server-5: gristmill.dev/emptied" in told(decided(back))


def test_the_chore_of_a_server_that_is_gone_is_removed_and_nothing_else() -> None:
    job = chore(resource(), "leave files-server-5", 3)
    seen = observed(resource(servers=5), 5, job)
    ending = pod("server", 5)
    ending["metadata"]["deletionTimestamp"] = text_of(NOW)
    seen.objects["Pod"].append(ending)  # type: ignore[attr-defined]
    assert told(decided(seen)) == ["delete Job files-chore"]


LOOK = "inspect files-server-5"


def gone(job: dict[str, Any] | None = None, servers: int = 5, **marks: Any) -> VolumeObserved:
    """Return what is there when the last server has been emptied, and is gone."""
    disk = claim("server", 5, **{"emptied": True, **marks})
    seen = observed(resource(servers=servers), 5, job)
    return replace(seen, claims=[*seen.claims, disk])


def looked(ended: float | None = 3, how: str = "Complete", why: str = "") -> dict[str, Any]:
    return chore(resource(), LOOK, ended, how, why)


FILES_FOUND = looked(3, "Failed", "PodFailurePolicy")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (gone(), [f"create Job {LOOK}"]),
        (gone(looked(None)), []),
        (gone(looked()), ["delete PersistentVolumeClaim data-files-server-5"]),
        (gone(FILES_FOUND), ["patch PersistentVolumeClaim data-files-server-5: gristmill.dev/has-files"]),
        (gone(FILES_FOUND, has_files=True), ["delete Job files-chore"]),
        (gone(has_files=True), []),
        # (nor does another's)
        (gone(chore(resource(), "leave files-server-5", 3)), ["delete Job files-chore"]),
        (gone(chore(resource(), "inspect files-server-4", 3)), ["delete Job files-chore"]),
        (gone(phase="Pending"), ["delete PersistentVolumeClaim data-files-server-5"]),
        (gone(deletionTimestamp="t"), []),
    ],
)
def test_a_disk_is_deleted_only_when_a_chore_found_nothing_there(
    seen: VolumeObserved, words: list[str]
) -> None:
    assert told(decided(seen)) == words


def test_a_disk_is_looked_at_when_its_server_is_gone() -> None:
    seen = gone()
    ending = pod("server", 5)
    assert told(decided(replace(seen, objects={**seen.objects, "Pod": [*seen.objects["Pod"], ending]}))) == []


def test_copies_come_before_a_look() -> None:
    assert told(decided(replace(gone(), topology=topology(5, lacking=1)))) == []


def test_a_disk_that_is_kept_is_in_nobodys_way() -> None:
    seen = replace(gone(has_files=True), resource=resource(servers=4))
    assert told(decided(seen)) == ["create Job evacuate files-server-4"]


@pytest.mark.parametrize(("job", "marks"), [(None, {}), (looked(), {}), (None, {"has_files": True})])
def test_more_again_takes_up_the_disk_that_was_given_up(
    job: dict[str, Any] | None, marks: dict[str, Any]
) -> None:
    """Its mark goes first: another operator that is about to delete it is refused then."""
    seen = gone(job, servers=6, **marks)
    assert replicas(seen) is None
    patches = [one for one in decided(seen).actions if isinstance(one, Patch)]
    assert [one.name for one in patches] == ["data-files-server-5"]
    body = patches[0].body["metadata"]
    assert (set(body["annotations"].values()), body["resourceVersion"]) == ({None}, "3")
    assert len(body["annotations"]) == 1 + len(marks)
    assert not [words for words in told(decided(seen)) if "delete PersistentVolumeClaim" in words]
    assert replicas(gone(servers=6, emptied=False)) == 6


def test_a_server_is_not_started_on_a_disk_that_is_being_deleted() -> None:
    assert replicas(gone(servers=6, deletionTimestamp="t")) is None
    assert replicas(observed(resource(servers=6), 5)) == 6


def test_a_disk_that_is_kept_does_not_keep_others_from_joining() -> None:
    seen = gone(servers=5, has_files=True)
    fewer_there = observed(resource(servers=5), 4)
    assert replicas(replace(fewer_there, claims=seen.claims)) == 5


def test_more_again_brings_a_server_back_that_has_left() -> None:
    volume = resource(servers=6)
    job = chore(volume, "leave files-server-5", 3)
    seen = with_marked(observed(volume, 6, job, topology=without_last(), on_last=0))
    assert told(decided(seen)) == [
        "patch PersistentVolumeClaim data-files-server-5: gristmill.dev/emptied", "delete Pod files-server-5",
    ]  # fmt: skip


def test_a_server_whose_disk_never_was_goes() -> None:
    pending = claim("server", 5, phase="Pending")
    seen = fewer(topology=without_last())
    seen = replace(seen, claims=[*seen.claims[:5], pending, *seen.claims[6:]])
    assert told(decided(seen)) == ["patch PersistentVolumeClaim data-files-server-5: gristmill.dev/emptied"]


# -- repair


def lacking(since: float, job: dict[str, Any] | None = None, **facts: Any) -> VolumeObserved:
    """Return a FileVolume of which a server has been missing for so many seconds."""
    given = {"topology": topology(3, lacking=2), **facts}
    return observed(resource(degraded(since)), 4, job, **given)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (lacking(29), []),
        (lacking(31), ["create Job repair"]),
        (lacking(31, topology=topology(4, lacking=1)), ["create Job repair"]),
        (lacking(31, topology=topology(3)), []),
        (lacking(31, topology=topology(4, excess=1)), ["create Job repair"]),
        (lacking(31, topology=topology(3, excess=1)), []),
        (lacking(31, topology=None), []),
        (lacking(99, chore(resource(), "repair")), []),
        (lacking(99, chore(resource(), "repair", 5)), []),
        (lacking(99, chore(resource(), "repair", 16)), ["delete Job files-chore"]),
        (lacking(99, chore(resource(), "repair", 16, "Failed")), ["delete Job files-chore"]),
        (lacking(99, chore(resource(), "evacuate files-server-3", 1)), ["delete Job files-chore"]),
        (observed(job=chore(resource(), "repair", 1)), ["delete Job files-chore"]),
    ],
)
def test_repair(seen: VolumeObserved, words: list[str]) -> None:
    assert told(decided(seen)) == words


def test_copies_come_before_scale_in() -> None:
    seen = observed(resource(degraded(31)), 6, topology=topology(6, lacking=1))
    assert told(decided(seen)) == ["create Job repair"]


# -- the end


def test_a_deletion_waits_for_its_jobs_and_says_for_which() -> None:
    going = resource()
    going["metadata"] |= {"deletionTimestamp": text_of(NOW)}
    decision = decided(observed(going, users=["count", "mill"]))
    assert decision.actions == ()
    ready = condition(decision.status, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "InUse")
    assert "waits for ChunkJob count and mill" in ready["message"]
    after = decided(observed(going))
    assert (after.actions, after.status) == ((SetFinalizer(False),), None)


# -- what is said


def condition(shown: dict[str, Any] | None, kind: str) -> dict[str, Any]:
    assert shown is not None
    FileVolumeStatus.model_validate(shown)
    (found,) = [one for one in shown["conditions"] if one["type"] == kind]
    return dict(found)


def unready(**facts: Any) -> VolumeObserved:
    return observed(objects=made(resource(), ready=0), **facts)


def waiting(reason: str, message: str) -> dict[str, list[dict[str, Any]]]:
    objects = made(resource(), ready=0)
    state = {"waiting": {"reason": reason, "message": message}}
    objects["Pod"][0]["status"] = {"phase": "Pending", "containerStatuses": [{"state": state}]}
    return objects


@pytest.mark.parametrize(
    ("seen", "holds", "reason", "words"),
    [
        (VolumeObserved(resource()), "False", "Starting", "StatefulSet files-master is not there yet"),
        (observed(topology=None), "False", "Starting", "no master answers"),
        (observed(topology=topology(2)), "False", "Starting", "2 of 4 servers are there, and 3 copies"),
        (unready(), "False", "Starting", "pod files-filer-0 is not ready"),
        (
            observed(objects=waiting("ErrImagePull", "no such image")),
            "False",
            "ImageUnavailable",
            "no such image",
        ),
        (observed(), "True", "Serving", "answers at files-volume.apps.svc:8888"),
        (observed(topology=topology(3)), "True", "Serving", "answers at"),
        (fewer(), "True", "Serving", "files-server-5 is to go and has 3 volumes yet"),
        (
            fewer(chore(resource(), "evacuate files-server-5", 2)),
            "True",
            "Serving",
            "3 volumes yet: they fit on no other server",
        ),
        (fewer(topology=without_last()), "True", "Serving", "can't be emptied before it is back"),
        (left(None, on_last=0), "True", "Serving", "files-server-5 is to go and is empty"),
        (left(None, on_last=None), "True", "Serving", "files-server-5 is to go and has left its masters"),
        (left(on_last=0), "True", "Serving", "files-server-5 is to go and is empty"),
        (left(on_last=None), "True", "Serving", "files-server-5 is to go and has left its masters"),
        (gone(), "True", "Serving", "data-files-server-5 is deleted when the chore `inspect` finds no file"),
        (
            gone(has_files=True),
            "True",
            "Serving",
            "data-files-server-5 is kept, though emptied: there are files which SeaweedFS could not load",
        ),
    ],
)
def test_ready(seen: VolumeObserved, holds: str, reason: str, words: str) -> None:
    found = condition(status(seen, NOW), "Ready")
    assert (found["status"], found["reason"]) == (holds, reason)
    assert words in found["message"]
    assert found["observedGeneration"] == 2


@pytest.mark.parametrize(
    ("seen", "holds", "reason", "words"),
    [
        (observed(topology=None), "Unknown", "Unknown", "no master answers"),
        (observed(), "False", "AllCopies", "all that the servers tell of has 3 copies"),
        (observed(topology=topology(3)), "False", "Starting", "files-server-3 is not there yet"),
        (lacking(3), "True", "ServersMissing", "files-server-3 is missing; 2 volumes lack copies"),
        (lacking(3), "True", "ServersMissing", "when they have been missed for 30 seconds"),
        (lacking(40, chore(resource(), "repair")), "True", "ServersMissing", "which are being copied"),
        (lacking(3, topology=topology(4, lacking=1)), "True", "CopiesMissing", "1 volumes lack copies"),
        (
            lacking(3, topology=topology(3)),
            "True",
            "ServersMissing",
            "all that the others tell of has its copies",
        ),
        (left(on_last=0), "False", "AllCopies", "all that the servers tell of has 3 copies"),
    ],
)
def test_degraded(seen: VolumeObserved, holds: str, reason: str, words: str) -> None:
    found = condition(status(seen, NOW), "Degraded")
    assert (found["status"], found["reason"]) == (holds, reason)
    assert words in found["message"]


def test_a_server_that_just_starts_is_not_missing() -> None:
    more = observed(resource(degraded(99, holds="False"), servers=5), 5, topology=topology(4))
    assert condition(status(more, NOW), "Degraded")["reason"] == "ServersMissing"
    pods = [one for one in more.objects["Pod"] if one["metadata"]["name"] != "files-server-4"]
    begun = replace(more, objects={**more.objects, "Pod": [*pods, pod("server", 4, NOW - 5)]})
    assert condition(status(begun, NOW), "Degraded")["status"] == "False"


def test_the_time_of_a_condition_is_that_of_its_change() -> None:
    assert condition(status(lacking(20), NOW), "Degraded")["lastTransitionTime"] == text_of(NOW - 20)
    mended = observed(resource(degraded(20)))
    assert condition(status(mended, NOW), "Degraded")["lastTransitionTime"] == text_of(NOW)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"taken": "Secret files-volume is somebody else's"}, "NameTaken"),
        ({"refused": "exceeded quota: few"}, "QuotaExceeded"),
        ({"refused": "you may not"}, "Refused"),
    ],
)
def test_what_is_in_the_way_is_said(given: dict[str, str], reason: str) -> None:
    found = condition(status(VolumeObserved(resource()), NOW, **given), "Ready")
    assert (found["status"], found["reason"]) == ("False", reason)
    assert next(iter(given.values())) in found["message"]
    serving = condition(status(observed(), NOW, **given), "Ready")
    assert serving["status"] == "True"
    assert next(iter(given.values())) in serving["message"]


def test_numbers() -> None:
    facts = topology(4, lacking=1, files=7, used=20 * 2**20, free=3 * 2**30)
    shown = status(observed(topology=facts), NOW)
    numbers = {name: shown[name] for name in ("servers", "used", "free", "files", "underReplicated")}
    assert numbers == {"servers": 4, "used": "20Mi", "free": "3072Mi", "files": 7, "underReplicated": 1}
    assert (shown["endpoint"], shown["secretName"]) == ("files-volume.apps.svc:8888", "files-volume")


# -- what the masters say


def volume(number: int, size: int = 100, copies: int = 3, **more: Any) -> dict[str, Any]:
    placement = {"node": copies - 1} if copies > 1 else {}
    return {"Id": number, "Size": size, "FileCount": 5, "ReplicaPlacement": placement, **more}


def answers(on: dict[str, list[dict[str, Any]]], most: int = 15) -> tuple[Any, Any]:
    nodes = [
        {"Url": f"{name}.files-server.apps.svc:8080", "Volumes": len(held), "Max": most}
        for name, held in on.items()
    ]
    by_address = {f"{name}.files-server.apps.svc:8080": held or None for name, held in on.items()}
    return (
        {"Topology": {"DataCenters": [{"Racks": [{"DataNodes": nodes}]}]}},
        {"Volumes": {"DataCenters": {"DefaultDataCenter": {"DefaultRack": by_address}}}},
    )


def test_what_the_masters_say_is_counted_without_copies() -> None:
    whole, short, more = volume(1), volume(2, DeletedByteCount=40, DeleteCount=2), volume(3, copies=1)
    said = answers({"s-0": [whole, short, more], "s-1": [whole, short, more], "s-2": [whole], "s-3": []})
    found = topology_of(*said, copies=3, limit=1)
    assert found.servers == {"s-0": 3, "s-1": 3, "s-2": 1, "s-3": 0}
    assert (found.lacking, found.excess) == (1, 1)
    assert (found.files, found.used) == (13, 260)
    slots = 12 + 12 + 14 + 15
    assert found.free == 3 * (2**20 - 100) + slots * 2**20 // 3


def test_a_copy_that_is_being_made_does_not_count() -> None:
    said = answers({"s-0": [volume(1, 900)], "s-1": [volume(1, 900)], "s-2": [volume(1, 10)]})
    assert topology_of(*said, copies=3, limit=1).used == 900


def test_what_is_full_has_no_room() -> None:
    said = answers({"s-0": [volume(1, copies=1, ReadOnly=True)]}, most=1)
    assert topology_of(*said, copies=1, limit=1).free == 0


@pytest.mark.parametrize("said", [None, {}, {"Topology": None}, []])
def test_what_is_no_answer_of_a_master(said: Any) -> None:
    with pytest.raises(NOT_ANSWERS):
        topology_of(said, said, copies=3, limit=1)


def test_masters_without_servers() -> None:
    empty = {"Topology": {"DataCenters": None}}
    assert topology_of(empty, {"Volumes": {"DataCenters": {}}}, copies=3, limit=1).servers == {}


def test_the_uid_is_in_the_mark() -> None:
    (action,) = decided(left(on_last=0)).actions
    assert isinstance(action, Patch)
    assert action.body["metadata"] == {"annotations": {"gristmill.dev/emptied": UID}, "resourceVersion": "3"}
