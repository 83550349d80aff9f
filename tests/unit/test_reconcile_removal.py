"""What is decided about a ChunkJob that is being deleted, as a table."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.reconcile_builders import (
    NOW,
    condition,
    decided,
    job_of,
    kinds,
    observed,
    pod,
    resource,
    told,
)

from gristmill.api.names import FINALIZER
from gristmill.reconcilers.actions import Cancel, DeleteJob, DeletePod, Forget, Note, Scale, SetFinalizer
from gristmill.reconcilers.times import text_of


def deleted(seconds: float = 1, **spec: Any) -> dict[str, Any]:
    found = resource(**spec)
    found["metadata"]["deletionTimestamp"] = text_of(NOW - seconds)
    return found


def test_deletion_gives_the_job_up_first() -> None:
    found = deleted(output={"url": "s3://bucket/out"})
    running = told(sink="url")
    assert decided(found, job=job_of(found), told=running).actions == (Cancel(),)


def test_workers_have_their_time_to_clean_up_however_long_ago_it_was_deleted() -> None:
    found = deleted(output={"url": "s3://bucket/out"})
    assert decided(found, NOW + 1000, job=job_of(found, 2), told=told()).actions[0] == Cancel()


def test_a_job_with_damaged_keys_is_not_given_up_but_forgotten() -> None:
    """The queue can make nothing of them: `cancel` would fail for ever."""
    damaged = told("failed", reason="QueueDamaged", message="damaged")
    assert decided(deleted(), told=damaged).actions == (Forget(), SetFinalizer(False))
    decision = decided(deleted(output={"url": "s3://bucket/out"}), told=damaged)
    assert decision.actions[1:] == (Forget(), SetFinalizer(False))
    note = decision.actions[0]
    assert isinstance(note, Note)
    assert "parts may be left in s3://bucket/out" in note.message


def test_while_it_is_cleaned_there_is_one_worker() -> None:
    found = deleted(output={"url": "s3://bucket/out"})
    cleaning = told("removing", sink="url", workers=0, finished=str(int(NOW * 1000)))
    assert decided(found, job=job_of(found, 0), told=cleaning).actions == (Scale(1),)
    assert decided(found, job=job_of(found, 1), told=cleaning).actions == ()


@pytest.mark.parametrize("sink", ["url", "queue"])
@pytest.mark.parametrize("waits", [True, False])
def test_kueue_is_asked_for_another_number_only_while_none_is_there(sink: str, waits: bool) -> None:
    """It takes that for another workload: those that clean would be gone, and one be queued."""
    found = deleted(output={"url": "s3://bucket/out"})
    found["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "team"}
    job = job_of(found, 2)
    job["spec"]["suspend"] = waits
    cleaning = told("removing", sink=sink, workers=2, finished=str(int(NOW * 1000)))
    expected = (Scale(1),) if waits and sink == "url" else ()
    assert decided(found, job=job, told=cleaning).actions == expected


@pytest.mark.parametrize("answer", [None, told("removed", workers=0)])
def test_when_nothing_is_left_it_may_go(answer: dict[str, Any] | None) -> None:
    assert decided(deleted(), told=answer).actions == (Forget(), SetFinalizer(False))


def test_what_a_job_that_the_queue_has_lost_may_have_left_is_said() -> None:
    began = {"state": "Running", "startTime": text_of(NOW - 60)}
    decision = decided(deleted(output={"url": "s3://bucket/out"}) | {"status": began}, told=None)
    note = decision.actions[0]
    assert isinstance(note, Note)
    assert (
        note.message
        == "the queue does not know the job; if it has lost it, parts may be left in s3://bucket/out"
    )
    ended = decided(resource(output={"url": "s3://bucket/out"}), told=told("complete", workers=0)).status
    for status in ({}, ended):
        found = deleted(output={"url": "s3://bucket/out"}) | {"status": status}
        assert decided(found, told=None).actions == (Forget(), SetFinalizer(False))
    assert decided(deleted() | {"status": began}, told=None).actions == (Forget(), SetFinalizer(False))


def test_pods_that_are_nobodys_go_too() -> None:
    orphan = pod(name="orphan", metadata={"ownerReferences": []})
    end = DeletePod("orphan", at_once=False)
    assert decided(deleted(), pods=[orphan, pod()], told=None).actions == (Forget(), end, SetFinalizer(False))


@pytest.mark.parametrize("answers", [True, False])
def test_deletion_never_hangs(answers: bool) -> None:
    found = deleted(31, output={"url": "s3://bucket/out"})
    job = job_of(found)
    job["metadata"]["deletionTimestamp"] = text_of(NOW - 30)
    decision = decided(found, job=job, told=told("removing", sink="url"), queue_answers=answers)
    (note, *rest) = decision.actions
    assert isinstance(note, Note)
    assert note.warning
    assert "s3://bucket/out" in note.message or "queue" in note.message
    assert rest == ([Forget()] if answers else []) + [SetFinalizer(False)]


def test_a_job_of_workers_that_may_not_be_deleted_is_left_to_kubernetes() -> None:
    found = deleted()
    job = job_of(found)
    job["metadata"]["uid"] = "made"
    assert DeleteJob("job-workers", "made") in decided(found, job=job).actions
    decision = decided(found, job=job, refused="policy says no")
    (forget, note, finalizer) = decision.actions
    assert (forget, finalizer) == (Forget(), SetFinalizer(False))
    assert isinstance(note, Note)
    assert note.message.endswith("is left to Kubernetes, which deletes it when it can: policy says no")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"told": told("removing", sink="url", finished=str(int(NOW * 1000)))},
            "waits until a worker has removed what is staged in s3://bucket/out",
        ),
        ({"told": told(), "queue_refuses": "it is full"}, "it is full"),
        ({"told": told(), "queue_answers": False}, "the queue does not answer"),
    ],
)
def test_a_deletion_that_takes_a_while_says_what_it_waits_for(facts: dict[str, Any], words: str) -> None:
    found = deleted(6, output={"url": "s3://bucket/out"})
    shown = condition(decided(found, job=job_of(found, 1), **facts), "Progressing") or {}
    assert (shown["status"], shown["reason"]) == ("False", "Removing")
    assert words in shown["message"]
    found = deleted(1, output={"url": "s3://bucket/out"})
    assert decided(found, job=job_of(found, 1), **facts).status is None


@pytest.mark.parametrize("answer", [None, told(), told("removing"), told("removed", workers=0)])
def test_a_queue_that_refuses_is_asked_for_nothing_and_has_the_time_of_one_that_is_silent(
    answer: Any,
) -> None:
    words = "the queue refused the call: MISCONF"
    refused = decided(deleted(29), told=answer, queue_refuses=words)
    assert (refused.actions, refused.again) == ((), 0.25)
    decision = decided(deleted(31, output={"url": "s3://bucket/out"}), told=answer, queue_refuses=words)
    (note, *rest) = decision.actions
    assert note == Note(
        "RemovalIncomplete", f"{words}: its keys, and parts in s3://bucket/out may be left", warning=True
    )
    assert rest == [SetFinalizer(False)]


def test_what_workers_could_not_remove_is_said() -> None:
    words = "what was staged in the output may be left there: the bucket is gone"
    removed = told("removed", workers=0, reason="RemovalIncomplete", message=words)
    decision = decided(deleted(output={"url": "s3://bucket/out"}), told=removed)
    assert decision.actions == (
        Note("RemovalIncomplete", words, warning=True),
        Forget(),
        SetFinalizer(False),
    )


def test_without_workers_it_waits_for_none() -> None:
    found = deleted(output={"url": "s3://bucket/out"})
    cleaning = told("removing", sink="url", workers=0, finished=str(int(NOW * 1000)))
    decision = decided(found, told=cleaning)
    assert kinds(decision) == ["Note", "Forget", "SetFinalizer"]


@pytest.mark.parametrize("owned", [True, False])
def test_its_workers_end_with_it_where_kubernetes_was_told_to_leave_them(owned: bool) -> None:
    """`kubectl delete --cascade=orphan` takes their owner away, before or after the ChunkJob has gone."""
    job = job_of(deleted())
    job["metadata"]["uid"] = "j"
    if not owned:
        del job["metadata"]["ownerReferences"]
    assert decided(deleted(), job=job).actions == (
        Forget(),
        DeleteJob("job-workers", "j"),
        SetFinalizer(False),
    )
    job["metadata"]["labels"]["gristmill.dev/uid"] = "another"
    assert decided(deleted(), job=job).actions == (Forget(), SetFinalizer(False))


def test_one_without_our_finalizer_is_not_held() -> None:
    found = deleted()
    found["metadata"]["finalizers"] = ["others/own"]
    assert decided(found, told=told()).actions == ()


def test_a_job_that_is_being_deleted_is_observed_only_by_its_own_words() -> None:
    found = deleted()
    assert FINALIZER in found["metadata"]["finalizers"]
    assert decided(found, told=told()).status is None
    assert observed(found).told is None
