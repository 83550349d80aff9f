"""What is decided about a ChunkJob with a wrong spec: nothing begins; what has begun goes on with the former one."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from tests.unit.reconcile_builders import NOW, decided, job_of, kinds, pod, resource, told

from gristmill.reconcilers.actions import DeletePod
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
