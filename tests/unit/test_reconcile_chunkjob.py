"""What is decided about a ChunkJob, as a table of what is there and what is to be done."""

from __future__ import annotations

from dataclasses import asdict
from math import inf
from typing import Any

import orjson
import pytest
from tests.unit.reconcile_builders import NOW, condition, decided, job_of, kinds, pod, resource, told

from gristmill.reconcilers.actions import (
    AdmitToQueue,
    Configure,
    Create,
    DeleteJob,
    DeletePod,
    DeleteResource,
    FailJob,
    Scale,
)
from gristmill.reconcilers.observed import context_of
from gristmill.reconcilers.times import text_of
from gristmill.remote.status import has_ended


def test_a_new_job_gets_its_finalizer_before_anything_else() -> None:
    found = resource()
    found["metadata"]["finalizers"] = ["others/own"]
    decision = decided(found)
    assert kinds(decision) == ["SetFinalizer", "AdmitToQueue", "Create", "Create"]
    assert decision.actions[1] == AdmitToQueue(int(NOW * 1000))
    made = [action.manifest["kind"] for action in decision.actions if isinstance(action, Create)]
    assert made == ["Secret", "Job"]
    assert decision.status is not None
    assert decision.status["state"] == "Pending"


def test_a_job_that_runs_as_it_should_needs_nothing() -> None:
    found = resource(workers={"max": 2})
    decision = decided(found, job=job_of(found), pods=[pod()], told=told())
    assert decision.actions == ()
    assert decision.status is not None
    assert decision.status["state"] == "Running"
    assert (condition(decision, "Progressing") or {})["reason"] == "Running"


def test_a_queue_that_has_forgotten_the_job_learns_of_it_again_in_a_new_epoch() -> None:
    found = resource()
    decision = decided(found, job=job_of(found), told=None)
    assert decision.actions == (AdmitToQueue(int(NOW * 1000)),)


def test_a_user_that_is_gone_is_made_again() -> None:
    found = resource(workers={"max": 2})
    assert kinds(decided(found, job=job_of(found), told=told(), has_user=False)) == ["SetUser"]


def test_while_the_queue_does_not_answer_what_runs_goes_on() -> None:
    found = resource()
    decision = decided(found, job=job_of(found), told=told(), queue_answers=False)
    assert decision.actions == ()
    assert (condition(decision, "Progressing") or {})["reason"] == "QueueUnreachable"


def test_changed_parameters_are_told_to_the_queue_once() -> None:
    found = resource(workers={"max": 2}, retry={"attempts": 9})
    found["metadata"]["generation"] = 2
    (action,) = decided(found, job=job_of(found), told=told()).actions
    assert isinstance(action, Configure)
    assert action.parameters["attempts"] == 9
    assert action.parameters["generation"] == 2
    assert decided(found, job=job_of(found), told=told(generation="2")).actions == ()


@pytest.mark.parametrize("field", ["input", "output"])
def test_what_decides_the_output_does_not_change_under_a_running_job(field: str) -> None:
    found = resource()
    decision = decided(
        found,
        job=job_of(found),
        told=told(**{"spec_digest": "x"} if field == "input" else {"output": "s3://x/y"}),
    )
    shown = condition(decision, "SpecChanged")
    assert shown is not None
    assert "apply it again" in shown["message"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_queue_that_is_full_of_results_says_who_can_help(workers: int) -> None:
    full = told(workers=workers, ready=0, leased=0)
    shown = condition(decided(resource(), job=job_of(resource()), told=full), "Progressing")
    assert shown is not None
    assert (shown["status"], shown["reason"]) == ("False", "AwaitingCollection")
    assert "gristmill results job --take" in shown["message"]
    for busy in ({"leased": 1}, {"ready": 1}, {"delayed": 1}, {"sink": "url"}, {"settled": "10"}):
        facts = {"ready": 0, "leased": 0} | busy
        shown = condition(decided(resource(), job=job_of(resource()), told=told(**facts)), "Progressing")
        assert (shown or {}).get("reason") != "AwaitingCollection", busy


@pytest.mark.parametrize("workers", [0, 2])
def test_a_volume_that_is_not_there_is_said(workers: int) -> None:
    found = resource(input={"lines": {"url": "volume://sales/*"}})
    there = {"job": job_of(found), "told": told("planning", workers)}
    shown = condition(decided(found, no_volumes=["sales"], **there), "Progressing")
    assert shown is not None
    assert (shown["status"], shown["reason"]) == ("False", "NoSuchVolume")
    assert "there is no FileVolume sales in this namespace" in shown["message"]
    shown = condition(decided(found, **there), "Progressing")
    assert (shown or {}).get("reason") != "NoSuchVolume"


def kueues(label: str = "queue-name", **spec: Any) -> dict[str, Any]:
    found = resource(**spec)
    found["metadata"]["labels"] = {f"kueue.x-k8s.io/{label}": "team"}
    return found


@pytest.mark.parametrize(("label", "workers"), [("queue-name", 4), ("priority-class", 1)])
def test_the_label_of_a_local_queue_is_what_makes_workers_kueues(label: str, workers: int) -> None:
    few = told(open="0", leased=1, ready=0)
    decision = decided(kueues(label, workers={"max": 4}), told=few)
    (made,) = [one.manifest for one in decision.actions if isinstance(one, Create)][1:]
    assert made["spec"]["parallelism"] == workers


@pytest.mark.parametrize(
    ("spec", "answer"),
    [
        ({}, told("complete", workers=0)),
        ({}, told("failed", workers=0)),
        ({"suspend": True}, told(suspended="1")),
        ({"workers": {"max": 4}}, told()),
        ({}, told(open="5", leased=0, ready=0, delayed=5, due=(NOW + 60) * 1000)),
    ],
)
def test_another_number_of_workers_is_another_job_under_kueue(
    spec: dict[str, Any], answer: dict[str, Any]
) -> None:
    """It makes another workload by the same name: where it is slow, the former one's quota stayed used."""
    job = job_of(kueues(), 2)
    assert (
        DeleteJob("job-workers", job["metadata"]["uid"])
        in decided(kueues(**spec), job=job, told=answer).actions
    )


def test_under_kueue_another_spec_that_is_suspended_has_no_workers() -> None:
    job = job_of(kueues(workers={"image": "mine:1"}), 2)
    found = kueues(workers={"image": "mine:2"}, suspend=True)
    found["metadata"]["generation"] = 2
    decision = decided(found, job=job, told=told())
    assert DeleteJob("job-workers", job["metadata"]["uid"]) in decision.actions
    assert "Scale" not in kinds(decision)


def test_suspended_has_no_workers() -> None:
    found = resource(suspend=True)
    decision = decided(found, job=job_of(found), told=told(suspended="1"))
    assert decision.actions == (Scale(0),)
    assert decision.status is not None
    assert decision.status["state"] == "Suspended"


def test_a_condition_that_does_not_hold_any_more_is_kept_as_false() -> None:
    suspended = {"type": "Suspended", "status": "True", "reason": "SuspendedBySpec", "message": ""}
    found = resource(status={"conditions": [suspended | {"lastTransitionTime": text_of(NOW - 5)}]})
    shown = condition(decided(found, job=job_of(found), told=told()), "Suspended")
    assert shown is not None
    assert (shown["status"], shown["reason"]) == ("False", "Resumed")


def test_the_time_of_a_condition_is_that_of_its_change() -> None:
    found = resource(suspend=True)
    first = decided(found, told=told(suspended="1"))
    found["status"] = first.status
    again = decided(found, now=NOW + 100, told=told(suspended="1"))
    assert condition(again, "Suspended") == condition(first, "Suspended")


@pytest.mark.parametrize("phase", ["complete", "failed"])
def test_an_ended_job_has_no_workers_and_stays(phase: str) -> None:
    found = resource()
    decision = decided(found, job=job_of(found), told=told(phase, workers=0))
    assert decision.actions == (Scale(0),)
    assert decided(found, job=job_of(found, 0), told=told(phase, workers=0)).actions == ()


def test_workers_may_end_by_themselves_so_that_their_logs_stay() -> None:
    found = resource()
    just = told("complete", finished=str(int((NOW - 1) * 1000)))
    assert decided(found, job=job_of(found), pods=[pod()], told=just).actions == ()
    assert decided(found, job=job_of(found), pods=[pod("Succeeded")], told=just).actions == (Scale(0),)


def test_an_ended_job_that_the_queue_has_forgotten_is_not_run_again() -> None:
    found = resource()
    found["status"] = decided(found, told=told("complete", workers=0)).status
    decision = decided(found, job=job_of(found, 0), told=None)
    assert decision.actions == ()
    assert decision.status == found["status"]


def test_a_job_that_was_tried_again_runs_again() -> None:
    found = resource(workers={"max": 2})
    found["status"] = decided(found, told=told("failed", workers=0)).status
    decision = decided(found, job=job_of(found, 0), told=told(workers=0))
    assert decision.actions == (Scale(2),)
    assert condition(decision, "Failed") is None


def test_it_is_deleted_when_its_time_is_over() -> None:
    found = resource(ttlSecondsAfterFinished=60)
    decision = decided(found, told=told("complete", workers=0))
    assert decision.actions == (DeleteResource(),)
    before = decided(found, now=NOW - 10, told=told("complete", workers=0))
    assert before.actions == ()
    assert before.again == pytest.approx(10)


def test_a_deadline_ends_it() -> None:
    found = resource(activeDeadlineSeconds=5, workers={"max": 2})
    (action,) = decided(found, job=job_of(found), told=told()).actions
    assert action == FailJob(7, "DeadlineExceeded", "it ran longer than 5 seconds")


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_times_of_the_queue_are_compared_by_its_clock(ahead: float) -> None:
    """The operator's is an hour before or after it."""
    found, now = resource(ttlSecondsAfterFinished=70), NOW - ahead
    ended = decided(found, now=now, queue_ahead=ahead, told=told("complete", workers=0))
    assert (ended.actions, ended.again) == ((), pytest.approx(10))
    found = resource(activeDeadlineSeconds=15, workers={"max": 2})
    runs = decided(found, now=now, queue_ahead=ahead, job=job_of(found), pods=[pod()], told=told())
    assert (runs.actions, runs.again) == ((), pytest.approx(6))
    waits = told(workers=2, ready=0, leased=0, due=(NOW + 30) * 1000)
    job = job_of(resource(), 2)
    waiting = decided(resource(), now=now, queue_ahead=ahead, job=job, pods=[pod()], told=waits)
    assert (waiting.actions, waiting.again) == ((Scale(0),), pytest.approx(25))


def test_workers_that_only_crash_end_it() -> None:
    found = resource()
    early = told("planning", workers=0, chores=1)
    made = {"creationTimestamp": text_of(NOW)}
    crashed = pod("Failed", metadata=made, containerStatuses=[{"state": {"terminated": {"exitCode": 1}}}])
    decision = decided(found, job=job_of(found, 4), pods=[crashed] * 6, told=early)
    assert [a.reason for a in decision.actions if isinstance(a, FailJob)] == ["WorkersCrash"]
    assert decided(found, job=job_of(found, 4), pods=[crashed] * 5, told=early).actions == ()


def test_workers_that_crash_after_planning_are_said_though_the_queue_has_not_missed_them_yet() -> None:
    made = {"creationTimestamp": text_of(NOW - 20)}
    end = {"terminated": {"exitCode": 1, "message": "OSError: no such host"}}
    pods = [pod("Failed", metadata=made, containerStatuses=[{"state": end}])] * 3
    decision = decided(resource(), job=job_of(resource(), 4), pods=pods, told=told(workers=1))
    shown = condition(decision, "Progressing") or {}
    assert (shown["status"], shown["reason"]) == ("False", "WorkersCrash")
    assert "no such host" in shown["message"]
    assert not [action for action in decision.actions if isinstance(action, FailJob)]


def test_a_pod_that_waits_for_its_modules_is_looked_at_again_within_seconds() -> None:
    found = resource(workers={"max": 1})
    job = job_of(found, 1)
    job["metadata"]["creationTimestamp"] = text_of(NOW - 1000)
    waiting = pod(
        "Pending",
        metadata={"creationTimestamp": text_of(NOW - 4)},
        conditions=[{"type": "PodScheduled", "status": "True"}],
    )
    words = 'configmap "code" not found'
    warnings = [("FailedMount", words)]
    decision = decided(found, job=job, pods=[waiting], told=told(workers=0), warnings=warnings)
    shown = condition(decision, "Progressing") or {}
    assert (shown["status"], shown["reason"], shown["message"]) == ("False", "PodsNotStarted", words)
    assert decision.again == pytest.approx(1)


@pytest.mark.parametrize(
    ("age", "missing", "due"),
    [
        (3600.0, "", False),
        (0.5, 'secret "job-queue" not found', False),
        (2.0, 'secret "job-queue" not found', True),
        (2.0, "couldn't find key url in Secret here/job-queue", True),
        (2.0, 'configmap "mine" not found', False),
    ],
)
def test_a_secret_that_somebody_deleted_is_made_again(age: float, missing: str, due: bool) -> None:
    found = resource(workers={"max": 1})
    waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": missing}}
    pods = [pod(containerStatuses=[{"state": waiting if missing else {"running": {}}}])]
    decision = decided(found, job=job_of(found, 1), pods=pods, told=told(), secret_age=age)
    made = [action.manifest["metadata"]["name"] for action in decision.actions if isinstance(action, Create)]
    assert made == (["job-queue"] if due else [])
    ended = decided(found, job=job_of(found, 0), pods=pods, told=told("complete"), secret_age=age)
    assert not kinds(ended)
    away = decided(found, job=job_of(found, 1), pods=pods, told=told(), secret_age=age, queue_answers=False)
    assert not kinds(away)


def test_a_secret_that_somebody_changed_is_put_right_when_a_worker_could_not_begin_with_it() -> None:
    found = resource(workers={"max": 1})
    ended = {"terminated": {"exitCode": 1, "message": "WRONGPASS"}}
    crashed = pod(phase="Failed", containerStatuses=[{"state": ended}])
    crashed["metadata"]["creationTimestamp"] = text_of(NOW - 5)
    for age, due in ((60.0, True), (2.0, False)):
        decision = decided(found, job=job_of(found, 1), pods=[crashed], told=told(), secret_age=age)
        assert ("Create" in kinds(decision)) == due


def test_an_operator_that_begins_has_secret_and_queue_agree_on_the_password() -> None:
    """Its key may be another than that of the one before."""
    found = resource(workers={"max": 1})
    decision = decided(found, job=job_of(found, 1), pods=[pod()], told=told(), secret_age=inf)
    assert kinds(decision) == ["SetUser", "Create"]
    lost = decided(found, job=job_of(found, 1), pods=[pod()], told=told(), secret_age=inf, has_user=False)
    assert kinds(lost) == ["SetUser", "Create"]


@pytest.mark.parametrize(
    "change",
    [
        {"workers": {"processes": 4}},
        {"workers": {"leaseSeconds": 5}},
        {"acceptCode": True},
        {"workers": {"image": "mine:2"}},
        {"retry": {"timeoutSeconds": 9}},
        {"retry": {"finalExceptions": ["KeyError"]}},
        {"retry": {"attempts": 1}},
        {"durability": "always"},
    ],
    ids=str,
)
def test_what_workers_read_when_they_begin_is_told_to_the_queue_and_then_to_others(
    change: dict[str, Any],
) -> None:
    found, job = resource(**change), job_of(resource())
    found["metadata"]["generation"], job["metadata"]["uid"] = 2, "j1"
    (configured,) = decided(found, job=job, pods=[pod()], told=told()).actions
    assert isinstance(configured, Configure)
    assert orjson.loads(configured.parameters["spec"]) == asdict(context_of(found))
    away = decided(found, job=job, pods=[pod()], told=told(), queue_answers=False)
    assert away.actions == ()
    decision = decided(found, job=job, pods=[pod()], told=told(generation="2"))
    assert kinds(decision) == ["DeleteJob"]
    assert condition(decision, "SpecChanged") is None


@pytest.mark.parametrize("facts", [{"spec_digest": "x"}, {"output": "s3://x/y"}])
def test_where_the_work_has_changed_nothing_else_is_taken_over_but_numbers_and_times(
    facts: dict[str, Any],
) -> None:
    """The pods would have the code or the volumes of the one, and the queue the settings of the other."""
    before = resource(workers={"max": 2})
    found = resource(workers={"max": 1, "leaseSeconds": 2}, retry={"timeoutSeconds": 9}, suspend=True)
    found["metadata"]["generation"] = 2
    decision = decided(found, job=job_of(before), pods=[pod()], told=told(**facts))
    assert decision.actions == (Configure({"suspended": 1}), Scale(0))
    found = resource(workers={"max": 1}, suspend=False)
    assert condition(decided(found, told=told(**facts, suspended="0")), "Progressing")["reason"] == "Running"  # type: ignore[index]
    without = decided(found, told=told(workers=0, **facts, suspended="0"))
    assert without.actions == ()
    shown = condition(without, "Progressing") or {}
    assert (shown["status"], shown["reason"]) == ("False", "NotTakenOver")
    assert "can get no workers" in shown["message"]


def test_other_work_is_not_begun_where_the_queue_has_lost_the_job_and_its_workers_are_there() -> None:
    began = {"state": "Running", "startTime": text_of(NOW - 60)}
    before = resource(began, process={"function": "m:f", "modules": "code-a"}, workers={"max": 2})
    found = resource(began, process={"function": "m:f", "modules": "code-b"}, workers={"max": 2})
    lost = decided(found, job=job_of(before), told=None)
    assert lost.actions == (Scale(0),)
    for kind in ("SpecChanged", "Progressing"):
        assert (condition(lost, kind) or {})["reason"] == "NotTakenOver"
    assert kinds(decided(before, job=job_of(before), told=None)) == ["AdmitToQueue"]
    assert kinds(decided(found, told=None)) == ["AdmitToQueue", "Create", "Create"]


def test_other_work_is_begun_where_the_queue_was_never_told_of_the_job() -> None:
    """Its workers' Job was made while the queue was not there yet: it has the mounts of the former work."""
    before = resource(process={"function": "m:f", "modules": "code-a"}, workers={"max": 2})
    found = resource(process={"function": "m:f", "modules": "code-b"}, workers={"max": 2})
    job = job_of(before)
    job["metadata"]["uid"] = "j1"
    away = decided(found, job=job, told=None, queue_answers=False)
    assert (away.actions, condition(away, "SpecChanged")) == ((), None)
    assert kinds(decided(found, job=job, told=None)) == ["DeleteJob"]
    job["metadata"]["deletionTimestamp"] = text_of(NOW)
    assert kinds(decided(found, job=job, pods=[pod()], told=None)) == []
    leaving = decided(found, pods=[pod(name="former-x")], told=None)
    assert "AdmitToQueue" not in kinds(leaving)
    assert leaving.again is not None
    assert "until former workers have ended: former-x" in (condition(leaving, "Progressing") or {})["message"]
    assert kinds(decided(found, pods=[pod("Failed")], told=None)) == ["AdmitToQueue", "Create", "Create"]
    new = job_of(found)
    new["metadata"]["uid"] = "j2"
    for owner, phase, done in (
        ("j1", "Running", []),
        ("j1", "Failed", ["AdmitToQueue"]),
        ("j2", "Running", ["AdmitToQueue"]),
    ):
        worker = pod(phase, metadata={"ownerReferences": [{"uid": owner}]})
        assert kinds(decided(found, job=new, pods=[worker], told=None)) == done
    another = job_of(found)
    another["metadata"]["ownerReferences"][0]["uid"] = "another"
    assert "AdmitToQueue" not in kinds(decided(found, job=another, pods=[pod()], told=None))


def test_workers_are_made_when_it_is_known_what_they_will_do() -> None:
    """A queue that is away may have the job as it was when it began; they would do that with other mounts."""
    for status in ({"state": "Running", "startTime": text_of(NOW - 60)}, None):
        away = decided(resource(status), told=None, queue_answers=False)
        assert (away.actions, away.again) == ((), 1.0)


def test_pods_that_are_nobodys_are_deleted_and_hold_nothing_up_for_good() -> None:
    """Their Job was deleted with `--cascade=orphan`."""
    found = resource(workers={"max": 1})
    orphan = pod(name="orphan", metadata={"ownerReferences": []})
    waiting = decided(found, job=job_of(found, 1), pods=[orphan], told=None)
    assert waiting.actions == (DeletePod("orphan", at_once=False),)
    assert "orphan" in (condition(waiting, "Progressing") or {})["message"]
    orphan["metadata"]["deletionTimestamp"] = text_of(NOW)
    orphan["metadata"]["deletionGracePeriodSeconds"] = 30
    assert decided(found, job=job_of(found, 1), pods=[orphan], told=None).actions == ()
    ended = pod("Succeeded", name="orphan", metadata={"ownerReferences": []})
    assert kinds(decided(found, job=job_of(found, 1), pods=[ended], told=None)) == ["AdmitToQueue"]


def test_a_job_that_has_ended_and_that_the_queue_has_forgotten_is_the_one_that_ended() -> None:
    status = decided(resource(), told=told("complete", workers=0)).status
    found = resource(status, process={"function": "m:other"})
    ended = decided(found, job=job_of(resource(), 0), told=None)
    assert ended.actions == ()
    assert (condition(ended, "Complete") or {})["status"] == "True"
    assert condition(ended, "SpecChanged") is None


def test_processes_that_are_not_taken_over_make_no_fewer_workers() -> None:
    for former, latter, wanted in ((1, 8, 16), (8, 1, 2)):
        before = resource(workers={"max": 16, "processes": former})
        found = resource(workers={"max": 16, "processes": latter})
        facts: dict[str, Any] = {"job": job_of(before, 0), "told": told(workers=0, open="16", leased=0)}
        assert decided(before, **facts).actions == (Scale(wanted),)
        facts["told"]["job"]["spec_digest"] = "x"
        assert decided(found, **facts).actions == (Scale(wanted),)


def test_a_suspension_does_not_wait_for_the_queue_that_is_to_be_told_of_other_workers() -> None:
    found = resource(workers={"image": "mine:2"}, suspend=True)
    found["metadata"]["generation"] = 2
    decision = decided(found, job=job_of(resource(), 2), pods=[pod()], told=told(), queue_answers=False)
    assert decision.actions == (Scale(0),)


def test_workers_are_made_when_the_queue_has_the_spec_that_they_read() -> None:
    found = resource(retry={"timeoutSeconds": 9})
    found["metadata"]["generation"] = 2
    for facts in ({"queue_answers": False}, {"queue_refuses": "it is full"}, {}):
        assert "Create" not in kinds(decided(found, told=told(workers=0), **facts))
    assert kinds(decided(found, told=told(workers=0, generation="2"))) == ["Create", "Create"]


def test_a_tolerance_that_was_changed_while_another_planned_is_told_again() -> None:
    found = resource(workers={"max": 2}, failures={"tolerated": 5})
    facts: dict[str, Any] = {"job": job_of(found), "pods": [pod()]}
    (action,) = decided(found, **facts, told=told(tolerated="0")).actions
    assert isinstance(action, Configure)
    assert action.parameters["tolerated"] == 5
    assert decided(found, **facts, told=told(tolerated="5")).actions == ()


def test_workers_that_were_lost_before_the_queue_forgot_the_job_do_not_end_it() -> None:
    found = resource()
    made = {"creationTimestamp": text_of(NOW - 1000)}
    crashed = pod("Failed", metadata=made, containerStatuses=[{"state": {"terminated": {"exitCode": 137}}}])
    anew = told("planning", workers=0, chores=1, created=str(int(NOW * 1000)))
    assert decided(found, job=job_of(found, 4, failed=9), pods=[crashed] * 9, told=anew).actions == ()


def test_pods_that_are_to_be_different_are_those_of_another_job() -> None:
    former = resource()
    found = resource(workers={"image": "example.com/other:2"})
    decision = decided(found, job=job_of(former) | {"metadata": {**job_of(former)["metadata"], "uid": "j"}})
    assert [a for a in decision.actions if isinstance(a, DeleteJob)] == [DeleteJob("job-workers", "j")]
    assert not [a for a in decision.actions if isinstance(a, Create | Scale)]


def test_a_name_that_is_taken_is_said_unless_it_may_be_that_of_a_former_job() -> None:
    found = resource()
    for age, reason in ((60, "NameTaken"), (1, "Starting")):
        found["metadata"]["creationTimestamp"] = text_of(NOW - age)
        shown = condition(decided(found, taken="Secret mill-queue is somebody else's"), "Progressing")
        assert (shown or {})["reason"] == reason


def test_a_wrong_spec_is_said_and_starts_nothing() -> None:
    decision = decided(resource(process={"source": "def process(x:"}))
    assert decision.actions == ()
    shown = condition(decision, "Failed")
    assert shown is not None
    assert shown["reason"] == "InvalidSpec"
    assert shown["message"].startswith("spec.process.source: ")


def test_a_wrong_name_is_said_and_starts_nothing() -> None:
    found = resource(ttlSecondsAfterFinished=60)
    found["metadata"]["name"] = "a.b"
    decision = decided(found)
    assert decision.actions == ()
    shown = condition(decision, "Failed") or {}
    assert shown["reason"] == "InvalidSpec"
    assert shown["message"].startswith("metadata.name: ")
    found["status"] = decided(found, now=NOW - 60).status
    assert decided(found).actions == (DeleteResource(),)


def test_one_that_was_wrong_from_its_start_goes_in_its_time_too() -> None:
    found = resource(process={"source": "def process(x:"}, ttlSecondsAfterFinished=60)
    found["status"] = decided(found, now=NOW - 60).status
    assert decided(found).actions == (DeleteResource(),)
    before = decided(found, now=NOW - 10)
    assert before.actions == ()
    assert before.again == pytest.approx(10)
    assert decided(found, job=job_of(resource())).actions == (Scale(0), DeleteResource())
    assert decided(found, queue_answers=False).actions == ()
    found["spec"]["ttlSecondsAfterFinished"] = "soon"
    assert decided(found).actions == ()


def test_what_may_be_refused_is_in_the_way_of_no_deadline() -> None:
    found = resource(workers={"max": 1}, activeDeadlineSeconds=10)
    late = told("planning", workers=0, created=str(int((NOW - 20) * 1000)))
    assert kinds(decided(found, told=late))[0] == "FailJob"


def test_what_has_begun_goes_on_under_a_spec_that_became_wrong() -> None:
    wrong: dict[str, Any] = {"process": {"source": "def process(x:"}, "workers": {"max": 3}}
    found = resource(**wrong)
    assert decided(found, job=job_of(resource(), 0), told=told(workers=0)).actions == (Scale(3),)
    late = resource(**wrong, activeDeadlineSeconds=10, ttlSecondsAfterFinished="soon")
    decision = decided(late, job=job_of(resource(), 3), told=told(created=str(int((NOW - 20) * 1000))))
    assert "FailJob" in kinds(decision)


def test_a_spec_that_became_wrong_before_the_queue_had_the_job_has_failed() -> None:
    found = resource(process={"source": "def process(x:"})
    away = decided(found, job=job_of(resource(), 2), queue_answers=False)
    assert away.actions == ()
    assert condition(away, "Failed") is None
    there = decided(found, job=job_of(resource(), 2))
    assert there.actions == (Scale(0),)
    assert (condition(there, "Failed") or {})["reason"] == "InvalidSpec"


def test_a_mended_spec_starts() -> None:
    found = resource()
    found["status"] = decided(resource(process={"source": "def process(x:"})).status
    assert "AdmitToQueue" in kinds(decided(found))


@pytest.mark.parametrize("facts", [{}, {"queue_answers": False}, {"refused": "exceeded quota: few"}])
def test_a_mended_spec_is_not_shown_as_failed(facts: dict[str, Any]) -> None:
    found = resource()
    found["status"] = decided(resource(process={"source": "def process(x:"})).status
    found["metadata"]["generation"] = 2
    found["status"] = decided(found, **facts).status
    assert found["status"]["state"] == "Pending"
    assert not has_ended(found)


@pytest.mark.parametrize("state", ["Pending", "Running", "Suspended"])
def test_a_state_stays_while_the_queue_does_not_tell_another(state: str) -> None:
    decision = decided(resource({"state": state}), queue_answers=False)
    assert (decision.status or {})["state"] == state


def test_a_reduce_needs_a_place_for_its_values() -> None:
    decision = decided(resource(reduce={"function": "operator:add"}))
    assert "spec.output.url" in (condition(decision, "Failed") or {})["message"]


def test_the_job_of_a_former_owner_is_waited_for() -> None:
    found = resource()
    other = job_of(found)
    other["metadata"]["ownerReferences"][0]["uid"] = "another"
    decision = decided(found, job=other, told=told())
    assert decision.actions == ()
    assert decision.again is not None


def test_a_pod_of_a_lost_node_is_deleted_at_once() -> None:
    found = resource(workers={"max": 2})
    gone = {"deletionTimestamp": text_of(NOW - 100), "deletionGracePeriodSeconds": 30}
    pods = [pod(name="lost", metadata=gone), pod(name="fine")]
    assert decided(found, job=job_of(found), pods=pods, told=told()).actions == (DeletePod("lost"),)
    ended = decided(found, job=job_of(found, 0), pods=pods, told=told("complete", workers=0))
    assert DeletePod("lost") in ended.actions


def test_a_pod_that_may_not_be_deleted_is_in_the_way_of_nothing_else() -> None:
    found = resource(suspend=True)
    gone = {"deletionTimestamp": text_of(NOW - 100), "deletionGracePeriodSeconds": 30}
    decision = decided(found, job=job_of(found), pods=[pod(name="lost", metadata=gone)], told=told())
    assert decision.actions[-1] == DeletePod("lost")
    assert Scale(0) in decision.actions


def test_a_queue_that_has_forgotten_the_job_gives_it_no_new_deadline() -> None:
    begin = text_of(NOW - 600)
    found = resource(status={"startTime": begin}, activeDeadlineSeconds=60)
    anew = told()
    anew["job"]["created"] = str(int((NOW - 1) * 1000))
    decision = decided(found, job=job_of(found), told=anew)
    assert "FailJob" in kinds(decision)
    assert decision.status is not None
    assert decision.status["startTime"] == begin


def test_a_pod_that_goes_is_looked_at_again_when_it_should_be_gone() -> None:
    found = resource(workers={"max": 2})
    going = pod(name="going", metadata={"deletionTimestamp": text_of(NOW), "deletionGracePeriodSeconds": 30})
    decision = decided(found, job=job_of(found), pods=[going, pod()], told=told())
    assert not [action for action in decision.actions if isinstance(action, DeletePod)]
    assert decision.again == 40


def test_what_the_api_server_refuses_is_said() -> None:
    refused = "jobs.batch is forbidden: exceeded quota: small"
    shown = condition(decided(resource(), told=told("planning", workers=0), refused=refused), "Progressing")
    assert shown is not None
    assert (shown["reason"], shown["message"]) == ("QuotaExceeded", refused)
    shown = condition(decided(resource(), told=None, refused="Job is invalid"), "Progressing")
    assert (shown or {})["reason"] == "Refused"


def test_a_spec_that_becomes_wrong_is_not_taken_over_and_the_job_goes_on() -> None:
    found = resource(process={"source": "def process(x:"})
    decision = decided(found, job=job_of(resource(), 4), told=told())
    assert decision.actions == ()
    assert condition(decision, "Failed") is None
    assert (condition(decision, "SpecChanged") or {})["message"].startswith("spec.process.source")
    assert decision.status is not None
    assert decision.status["state"] == "Running"
    ended = decided(found, job=job_of(resource()), told=told("complete", workers=0))
    assert ended.actions == (Scale(0),)
    assert condition(ended, "Complete") is not None
