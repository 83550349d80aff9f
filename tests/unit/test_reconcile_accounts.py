"""The service account of workers that coordinate: made before their Job, and again where it is missed."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from tests.unit.reconcile_builders import NOW, decided, job_of, kinds, pod, resource, told

from gristmill.api.names import ConditionType
from gristmill.reconcilers.actions import Create, Decision
from gristmill.reconcilers.times import text_of

ACCOUNT = ["ServiceAccount", "RoleBinding"]


def made(decision: Decision) -> list[str]:
    """Return the kinds of what is to be made."""
    return [action.manifest["kind"] for action in decision.actions if isinstance(action, Create)]


def running(**facts: Any) -> Decision:
    found = resource(coordination=True)
    return decided(found, **{"job": job_of(found), "told": told(), "secret_age": 100.0, **facts})


def test_it_is_there_before_the_pods_are() -> None:
    assert made(decided(resource(coordination=True), told=told(workers=0))) == ["Secret", *ACCOUNT, "Job"]
    assert made(decided(resource(), told=told(workers=0))) == ["Secret", "Job"]


@pytest.mark.parametrize(
    ("age", "warnings", "expected"),
    [
        (inf, [], ACCOUNT),
        (60.0, [], ACCOUNT),
        (59.0, [], []),
        (2.0, [("FailedCreate", 'serviceaccount "job-coordination" not found')], ACCOUNT),
        (0.5, [("FailedCreate", 'serviceaccount "job-coordination" not found')], []),
        (2.0, [("FailedCreate", "exceeded quota")], []),
    ],
)
def test_it_is_looked_for_now_and_then_and_where_pods_are_refused_for_it(
    age: float, warnings: list[tuple[str, str]], expected: list[str]
) -> None:
    decision = running(account_age=age, warnings=warnings)
    assert made(decision) == expected
    assert expected or (decision.again or inf) <= 60 - age


def test_it_is_kept_where_the_spec_is_not_taken_over() -> None:
    before = resource(coordination=True)
    for later in (resource(process={"function": "m:other"}), resource(process={"source": "def process(x:"})):
        facts: dict[str, Any] = {
            "job": job_of(before),
            "told": told(spec_digest="former"),
            "account_age": inf,
        }
        assert made(decided(later, **facts)) == ACCOUNT
    ended: dict[str, Any] = {"job": job_of(before), "told": told("complete", 0), "account_age": inf}
    assert made(decided(resource(process={"source": "def process(x:"}), **ended)) == []


def test_it_is_in_the_way_of_nothing_else() -> None:
    """What the API server refuses ends the pass."""
    decision = running(account_age=inf, told=told(workers=2, chunks="100", open="90"), pods=[pod(), pod()])
    assert kinds(decision)[-2:] == ["Create", "Create"]
    assert "Scale" in kinds(decision)[:-2]


def test_who_needs_none_gets_none() -> None:
    found = resource(coordination=True)
    facts: dict[str, Any] = {"job": job_of(found), "account_age": inf, "secret_age": 100.0}
    assert made(decided(found, told=told("complete", 0), **facts)) == []
    without = resource()
    assert made(decided(without, told=told(), **facts | {"job": job_of(without)})) == []


@pytest.mark.parametrize(("account_made", "gone"), [(None, []), (NOW - 30, []), (NOW - 5, ["old"])])
def test_pods_whose_account_is_another_now_are_replaced(account_made: float | None, gone: list[str]) -> None:
    pods = [
        pod(name="old", metadata={"name": "old", "creationTimestamp": text_of(NOW - 20)}),
        pod(name="new", metadata={"name": "new", "creationTimestamp": text_of(NOW - 5)}),
        pod("Failed", metadata={"name": "ended", "creationTimestamp": text_of(NOW - 20)}),
    ]
    decision = running(account_made=account_made, pods=pods)
    assert [action.name for action in decision.actions if hasattr(action, "name")] == gone


def test_a_name_that_is_taken_is_said() -> None:
    decision = decided(
        resource(coordination=True),
        told=told(workers=0),
        taken="ServiceAccount job-coordination is somebody else's",
    )
    conditions = (decision.status or {})["conditions"]
    (progressing,) = [one for one in conditions if one["type"] == ConditionType.PROGRESSING]
    assert progressing["reason"] == "NameTaken"
