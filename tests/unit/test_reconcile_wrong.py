"""What is decided about a ChunkJob with a wrong spec: nothing begins; what has begun goes on with the former one."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from tests.unit.reconcile_builders import NOW, condition, decided, job_of, kinds, pod, resource, told

from gristmill.reconcilers.actions import Configure, DeletePod, DeleteResource, Scale
from gristmill.reconcilers.times import text_of

#: one chunk of one, and one chunk: both can't be meant
BOTH = {"size": 1, "count": 1}
STARTED = text_of(NOW - 100)


def wrong(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return resource(status, chunks=BOTH, **spec)


def complete() -> dict[str, Any]:
    """Return the status of a job that has ended, of which the queue need know nothing any more."""
    return decided(resource(), told=told("complete", workers=0)).status or {}


# -- the secret, the user, the pods


@pytest.mark.parametrize("found", [resource(), wrong()])
def test_an_operator_that_begins_has_secret_and_queue_agree_under_a_wrong_spec_too(
    found: dict[str, Any],
) -> None:
    decision = decided(found, job=job_of(resource(), 4), pods=[pod()], told=told(), secret_age=inf)
    assert kinds(decision) == ["SetUser", "Create"]


@pytest.mark.parametrize("found", [resource(suspend=True), wrong(suspend=True)])
def test_an_operator_that_begins_looks_for_no_secret_where_there_are_no_workers(
    found: dict[str, Any],
) -> None:
    other = job_of(resource())
    other["metadata"]["ownerReferences"][0]["uid"] = "another"
    for job in (None, other):
        assert kinds(decided(found, job=job, told=told(suspended="1"), secret_age=inf)) == []


@pytest.mark.parametrize("found", [resource(), wrong()])
def test_a_user_that_is_gone_is_made_again_under_a_wrong_spec_too(found: dict[str, Any]) -> None:
    facts: dict[str, Any] = {"job": job_of(resource(), 4), "pods": [pod()], "told": told(), "has_user": False}
    assert kinds(decided(found, **facts)) == ["SetUser"]
    assert kinds(decided(found, **facts, queue_answers=False)) == []


def test_a_secret_that_somebody_deleted_is_made_again_under_a_wrong_spec_too() -> None:
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "job-queue" not found'}
    pods = [pod("Pending", containerStatuses=[{"state": {"waiting": waiting}}])]
    facts: dict[str, Any] = {"job": job_of(resource(), 4), "pods": pods, "secret_age": 2.0}
    assert kinds(decided(wrong(), **facts, told=told())) == ["Create"]
    assert "Create" not in kinds(decided(wrong(), **facts, told=told("complete")))


def test_a_pod_of_a_lost_node_is_deleted_under_a_wrong_spec_too() -> None:
    gone = {"deletionTimestamp": text_of(NOW - 100), "deletionGracePeriodSeconds": 30}
    pods = [pod(name="lost", metadata=gone), pod(name="fine")]
    decision = decided(wrong(), job=job_of(resource(), 4), pods=pods, told=told())
    assert decision.actions == (DeletePod("lost"),)


def test_the_workers_of_another_are_not_those_of_a_wrong_one() -> None:
    other = job_of(resource(), 4)
    other["metadata"]["ownerReferences"][0]["uid"] = "another"
    assert decided(wrong(suspend=True), job=other, told=told(suspended="1")).actions == ()
    assert decided(wrong(), job=other).actions == ()


# -- what has begun, though the queue does not tell


@pytest.mark.parametrize(
    "facts",
    [
        {"job": job_of(resource(), 4)},
        {"status": {"state": "Running", "startTime": STARTED, "conditions": []}},
    ],
)
def test_what_runs_has_not_failed_while_the_queue_is_away(facts: dict[str, Any]) -> None:
    """`kubectl wait --for=condition=Failed` would end."""
    facts = dict(facts)
    found = wrong(facts.pop("status", {"state": "Running"}))
    decision = decided(found, **facts, queue_answers=False)
    assert decision.actions == ()
    assert (decision.status or {})["state"] == "Running"
    assert condition(decision, "Failed") is None
    assert (condition(decision, "Progressing") or {})["reason"] == "QueueUnreachable"
    assert (condition(decision, "SpecChanged") or {})["message"].startswith("spec.chunks")


def test_what_never_began_is_wrong_whether_the_queue_answers_or_not() -> None:
    for answers in (True, False):
        decision = decided(wrong(), queue_answers=answers)
        assert (decision.status or {})["state"] == "Failed"
        assert (condition(decision, "Failed") or {})["reason"] == "InvalidSpec"


@pytest.mark.parametrize("answers", [True, False])
def test_what_is_complete_stays_so_and_is_not_run_again_when_it_is_put_right(answers: bool) -> None:
    """The queue has lost it since."""
    found = wrong(complete(), ttlSecondsAfterFinished=3600)
    found["metadata"]["generation"] = 2
    decision = decided(found, job=job_of(resource(), 2), queue_answers=answers)
    assert decision.actions == (Scale(0),)
    assert decision.again == pytest.approx(3540)
    shown = decision.status or {}
    assert {**shown, "conditions": shown["conditions"][:-1]} == complete()
    assert (condition(decision, "SpecChanged") or {})["observedGeneration"] == 2
    assert decided(found, NOW + 3541).actions == (DeleteResource(),)

    found["status"] = shown
    assert decided(found).status == shown
    right = resource(shown)
    right["metadata"]["generation"] = 3
    mended = decided(right, queue_answers=answers)
    assert (mended.actions, mended.status) == ((), complete())


def test_what_runs_and_has_no_workers_says_that_it_gets_none_under_a_wrong_spec() -> None:
    """Somebody has deleted the workers' Job, or the queue was never seen with one."""
    shown = condition(decided(wrong(), told=told(workers=0)), "Progressing") or {}
    assert (shown["status"], shown["reason"]) == ("False", "InvalidSpec")
    assert shown["message"].startswith("it can get no workers: spec.chunks")
    for facts in (
        {"told": told(), "job": job_of(resource(), 4)},
        {"told": told("complete")},
        {"told": told(suspended="1")},
    ):
        assert (condition(decided(wrong(), **facts), "Progressing") or {}).get("reason") != "InvalidSpec"


def test_what_the_queue_lost_can_not_go_on_under_a_wrong_spec_and_says_so() -> None:
    found = wrong(decided(resource(), told=told()).status, ttlSecondsAfterFinished=1)
    decision = decided(found, job=job_of(resource(), 4), pods=[pod()])
    assert decision.actions == (Scale(0),)
    assert (decision.status or {})["state"] == "Running"
    assert condition(decision, "Failed") is None
    shown = condition(decision, "Progressing") or {}
    assert (shown["status"], shown["reason"]) == ("False", "InvalidSpec")
    assert shown["message"].startswith("the queue has lost the job, and can't be told of it: spec.chunks")
    again = resource(decision.status)
    assert kinds(decided(again, job=job_of(again, 0))) == ["AdmitToQueue", "Scale"]


# -- what is right in a wrong spec


@pytest.mark.parametrize(
    ("workers", "present", "wanted"),
    [
        ({"max": 50}, 50, 50),
        ({"max": 50}, 0, 50),
        ({"max": 1}, 1, 1),
        ({"max": 50, "template": {"hostPath": "x"}}, 50, 50),
        ({"max": 1, "template": {"hostPath": "x"}}, 1, 1),
        ({"max": 30, "template": {"hostPath": "x"}}, 50, 30),
        ({"template": {"hostPath": "x"}, "max": 50, "processes": 200}, 5, 50),
        ({"max": "many"}, 50, 50),
        ({"max": "many"}, 1, 1),
        ({"max": "many"}, 0, 4),
        ({"min": 9, "max": 5}, 50, 5),
        ("many", 50, 50),
        ({"image": "a b"}, 4, 4),
        ({}, 50, 4),
    ],
)
def test_a_wrong_edit_changes_no_number_of_workers_but_that_which_it_says(
    workers: Any, present: int, wanted: int
) -> None:
    many = told(chunks="1000", open="900", ready=900, leased=50)
    decision = decided(wrong(workers=workers), job=job_of(resource(), present), told=many)
    scaled = [action.parallelism for action in decision.actions if isinstance(action, Scale)]
    assert scaled == ([] if wanted == present else [wanted])


@pytest.mark.parametrize("suspend", [True, False])
def test_a_wrong_spec_is_suspended_and_resumed_in_the_queue_too(suspend: bool) -> None:
    found = wrong(suspend=suspend, workers={"max": 2})
    job = job_of(resource(), 0 if suspend else 2)
    before, after = (told(suspended=str(int(on))) for on in (not suspend, suspend))
    decision = decided(found, job=job, told=before)
    assert decision.actions == (Configure({"suspended": int(suspend)}),)
    assert decided(found, job=job, told=after).actions == ()
    assert decided(found, job=job, told=before, queue_answers=False).actions == ()
    ended = told("complete", suspended=before["job"]["suspended"])
    assert "Configure" not in kinds(decided(found, job=job, told=ended))


def test_what_is_in_the_way_of_a_job_with_a_wrong_spec_is_said_too() -> None:
    decision = decided(wrong(), job=job_of(resource(), 4), told=told(), queue_answers=False)
    assert (condition(decision, "Progressing") or {})["reason"] == "QueueUnreachable"
