"""Whatever a job writes to its own keys, its ChunkJob is decided, and has a status that the API server takes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.reconcile_builders import NOW, condition, decided, job_of, resource, told

from gristmill.api.status import ChunkJobStatus
from gristmill.planning.progress import Sample
from gristmill.protocol.statuses import believed
from gristmill.reconcilers.actions import DeleteResource
from gristmill.reconcilers.times import text_of

PHASES = ("planning", "running", "complete", "failed", "removing", "removed")
FIELDS = (*told()["job"], "reason", "message", "finished", "suspended", "output", "retried", "chunks_failed")
NUMBERS = ("alive", "leased", "pending", "delayed", "chores", "ready", "due")
WORDS = st.sampled_from(["", "0", "-1", "-5", "1_0", "0x9", "inf", "1e9", " 7", "٣", "x", "x" * 2000, "\0"])
DIGITS = st.integers(-(10**20), 10**20).map(str)
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**64), 2**64), st.floats(), st.text(), st.just([]), st.just({})
)


def raw(phase: str, **facts: Any) -> dict[str, Any]:
    """Return an answer as the library gives it."""
    return {**told(phase, **facts), "workers": {}}


def damaged(job: dict[str, Any], numbers: dict[str, Any] | None = None, phase: str = "running") -> Any:
    """Return an answer in which these fields are so; None: they are not there."""
    answer = raw(phase)
    answer["job"] = {field: value for field, value in (answer["job"] | job).items() if value is not None}
    return answer | (numbers or {})


def mills() -> list[dict[str, Any]]:
    """ChunkJobs of which each way through a decision is taken."""
    plain = resource(ttlSecondsAfterFinished=60, activeDeadlineSeconds=5)
    edited = deepcopy(plain)
    edited["metadata"]["generation"] = 2
    deleted = deepcopy(plain)
    deleted["metadata"]["deletionTimestamp"] = text_of(NOW - 5)
    wrong = resource(chunks={"size": 1, "count": 1}, activeDeadlineSeconds=5)
    return [plain, edited, deleted, wrong, resource(), resource(suspend=True)]


def within_bounds(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(within_bounds, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, int) or abs(value) < 2**63


@given(
    phase=st.sampled_from(PHASES),
    job=st.dictionaries(st.sampled_from(FIELDS), st.none() | WORDS | DIGITS | st.text(), max_size=3),
    numbers=st.dictionaries(st.sampled_from(NUMBERS), ODD, max_size=2),
)
@example("running", {"created": "9" * 16}, {})
@example("running", {"planned": "1", "settled": "1", "chunks": "9" * 15}, {})
@example("failed", {"finished": None}, {})
@example("running", {"phase": "failed"}, {})
@example("running", {"created": "0"}, {})
def test_any_damage(phase: str, job: dict[str, Any], numbers: dict[str, Any]) -> None:
    answer = believed(damaged(job, numbers, phase))
    settled = int(answer["job"].get("settled") or 0)
    workers = job_of(resource())
    workers["metadata"]["uid"] = "j"
    for found in mills():
        for samples in ((), (Sample(NOW - 9, 0), Sample(NOW, settled))):
            status = decided(found, job=workers, told=answer, samples=samples).status
            if status is not None:
                ChunkJobStatus.model_validate(status)
                assert within_bounds(status)


@pytest.mark.parametrize(
    ("job", "numbers"),
    [
        ({"created": "9" * 15}, {}),
        ({"created": "-1"}, {}),
        ({"created": None}, {}),
        ({"name": None}, {}),
        ({"epoch": None}, {}),
        ({"chunks": None}, {}),
        ({"settled": "-5"}, {}),
        ({"settled": "11"}, {}),
        ({"items": "-2"}, {}),
        ({"dead": "1_0"}, {}),
        ({"dead": "x"}, {}),
        ({"phase": "x"}, {}),
        ({"planned": "9" * 16}, {}),
        ({"reason": "x" * 1025}, {}),
        ({"phase": "failed", "finished": "-9"}, {}),
        ({"phase": "failed"}, {}),
        ({}, {"leased": float("inf")}),
        ({}, {"leased": 0.5}),
        ({}, {"leased": -1}),
        ({}, {"ready": float("nan")}),
        ({}, {"due": float("inf")}),
        ({}, {"due": "x"}),
    ],
)
def test_what_can_not_be_so_is_damage(job: dict[str, Any], numbers: dict[str, Any]) -> None:
    decision = decided(resource(), told=believed(damaged(job, numbers)), job=job_of(resource()))
    assert (condition(decision, "Failed") or {})["reason"] == "QueueDamaged"
    late = decided(
        resource(ttlSecondsAfterFinished=0), NOW + 1000, told=told("failed", reason="QueueDamaged")
    )
    assert DeleteResource() not in late.actions


@pytest.mark.parametrize("phase", PHASES)
def test_what_can_be_so_is_none(phase: str) -> None:
    for more in ({}, {"items": "-1"}, {"due": int(NOW * 1000)}, {"due": NOW * 1000}, {"retried": "0"}):
        answer = raw(phase, finished=str(int(NOW * 1000))) | {"alive": 1}
        for field, value in more.items():
            (answer if field == "due" else answer["job"])[field] = value
        kept = believed(answer)
        assert kept["job"]["phase"] == phase
        assert (kept["alive"], "workers" in kept) == (1, False)


@pytest.mark.parametrize("facts", [{"refused": "x" * 40_000}, {"queue_refuses": "x" * 40_000}])
def test_what_others_say_at_length_is_cut_to_what_the_api_server_takes(facts: dict[str, str]) -> None:
    decision = decided(resource(), **facts)
    ChunkJobStatus.model_validate(decision.status)
    assert len((condition(decision, "Progressing") or {})["message"]) == 32_768


def test_what_is_not_used_is_not_kept() -> None:
    kept = believed(damaged({"stored": "x" * 10**6, "refused": "7"}))
    assert {"stored", "refused"}.isdisjoint(kept["job"])
