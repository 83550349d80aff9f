"""How many workers a job should have."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.reconcile_builders import NOW, resource, told

from gristmill.reconcilers.observed import context_of
from gristmill.reconcilers.workers import Present, wanted_workers


def wanted(answer: dict[str, Any] | None, asked: int = 0, **spec: Any) -> int:
    job = context_of(resource(**spec)).job
    return wanted_workers(job, answer, Present(asked, asked), 4, NOW)[0]


@pytest.mark.parametrize(
    ("spec", "workers"),
    [
        ({}, 4),
        ({"workers": {"max": 2}}, 2),
        ({"chunks": {"size": 5}}, 2),
        ({"chunks": {"count": 3}}, 3),
        ({"chunks": {"size": 5}, "workers": {"processes": 2}}, 1),
        ({"input": {"items": [1]}}, 1),
        ({"input": {"range": {"stop": 0}}}, 1),
        ({"input": {"lines": {"url": "/x"}}}, 4),
        ({"input": {"lines": {"url": "/x"}}, "chunks": {"count": 2}}, 2),
        ({"suspend": True}, 0),
    ],
)
def test_before_anything_is_known(spec: dict[str, Any], workers: int) -> None:
    assert wanted(None, **spec) == workers
    assert wanted(told("planning", chores=1), **spec) == workers


@pytest.mark.parametrize(
    ("facts", "asked", "workers"),
    [
        ({"open": "100", "leased": 4}, 4, 4),
        ({"open": "100", "leased": 0}, 0, 4),
        ({"open": "1", "leased": 1}, 0, 2),
        # fewer chunks are left than workers: none is taken away, for Kubernetes would take any
        ({"open": "0", "leased": 1, "ready": 0}, 4, 4),
        # one has the last chore
        ({"open": "0", "leased": 0, "ready": 0, "chores": 1}, 1, 1),
        # `workers.max` was lowered
        ({"open": "100"}, 9, 4),
        # nothing can be leased: all wait for a retry that is far, or near
        ({"open": "5", "leased": 0, "ready": 0, "delayed": 5, "due": (NOW + 60) * 1000}, 4, 0),
        ({"open": "5", "leased": 0, "ready": 0, "delayed": 5, "due": (NOW + 5) * 1000}, 4, 4),
        # or for somebody who collects
        ({"open": "5", "leased": 0, "ready": 0}, 4, 0),
    ],
)
def test_by_backlog(facts: dict[str, Any], asked: int, workers: int) -> None:
    assert wanted(told(**facts), asked) == workers


def test_some_stay_where_that_is_wanted() -> None:
    idle = told(open="5", leased=0, ready=0)
    assert wanted(idle, 4, workers={"min": 2}) == 2


def test_it_looks_again_before_a_retry_is_due() -> None:
    job = context_of(resource()).job
    waiting = told(open="5", leased=0, ready=0, due=(NOW + 60) * 1000)
    assert wanted_workers(job, waiting, Present(4, 4), 4, NOW) == (0, pytest.approx(55))


@pytest.mark.parametrize(
    ("phase", "workers"), [("complete", 0), ("failed", 0), ("removed", 0), ("removing", 1)]
)
def test_at_the_end(phase: str, workers: int) -> None:
    assert wanted(told(phase), 3) == workers


def test_fewer_are_wanted_while_it_is_planned_too() -> None:
    assert wanted(told("planning", chores=1), asked=4, workers={"max": 1}) == 1


@pytest.mark.parametrize(
    ("facts", "asked", "workers"),
    [
        # the number stays, whatever there is to do: another one is another Job, and is queued again
        ({"open": "1", "leased": 1}, 4, 4),
        ({"open": "5", "leased": 0, "ready": 0, "delayed": 5, "due": (NOW + 5) * 1000}, 4, 4),
        # none were there: all at once, for there are no more later
        ({"open": "1", "leased": 1}, 0, 4),
        ({"open": "5", "leased": 0, "ready": 0, "delayed": 5, "due": (NOW + 5) * 1000}, 0, 4),
        # nothing can be leased for a while: their quota is given back
        ({"open": "5", "leased": 0, "ready": 0, "delayed": 5, "due": (NOW + 60) * 1000}, 4, 0),
        # `workers.max` was lowered, or raised
        ({"open": "100"}, 9, 4),
        ({"open": "100"}, 2, 4),
    ],
)
def test_under_kueue_it_is_all_or_none(facts: dict[str, Any], asked: int, workers: int) -> None:
    job = context_of(resource()).job
    present = Present(asked, asked, queued=True)
    assert wanted_workers(job, told(**facts), present, 4, NOW)[0] == workers


def test_under_kueue_some_that_stay_are_all_of_them() -> None:
    job = context_of(resource(workers={"min": 1, "max": 3})).job
    idle = told(open="5", leased=0, ready=0)
    assert wanted_workers(job, idle, Present(3, 3, queued=True), 4, NOW)[0] == 3


@pytest.mark.parametrize(("asked", "workers"), [(3, 3), (0, 1)])
def test_under_kueue_no_worker_that_could_clean_up_is_stopped(asked: int, workers: int) -> None:
    job = context_of(resource()).job
    assert wanted_workers(job, told("removing"), Present(asked, asked, queued=True), 4, NOW)[0] == workers
