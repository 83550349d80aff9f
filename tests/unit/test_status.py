from __future__ import annotations

from typing import Any

import pytest

from gristmill.api.status import ChunkJobStatus
from gristmill.client.status import ended, failure_of, status_of
from gristmill.planning.progress import Sample


def told(**job: Any) -> dict[str, Any]:
    """What the queue says of a job; its server's clock shows 20 s after the job was planned."""
    fields = {
        "phase": "running",
        "name": "j",
        "created": "999000",
        "planned": "1000000",
        "chunks": "100",
        "items": "-1",
    }
    values = {name: str(value) for name, value in {**fields, **job}.items()}
    return {"job": values, "alive": 1, "leased": 4, "now": 1_020_000}


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def test_running() -> None:
    status = status_of(told(settled=40, chunks_failed=2, items_done=380, items_dead=2, retried=5), [], "out")
    assert status["state"] == "Running"
    assert status["chunks"] == {"total": 100, "running": 4, "succeeded": 38, "failed": 2, "retried": 5}
    assert status["items"] == {"total": None, "succeeded": 380, "failed": 2}
    assert (status["ratePerSecond"], status["etaSeconds"]) == (2.0, 30)
    assert conditions(status) == {"Planned": ("True", "PlanWritten"), "Progressing": ("True", "Running")}
    assert not ended(status)


def test_rate_of_samples() -> None:
    samples = [Sample(1_015.0, 10), Sample(1_020.0, 40)]
    assert status_of(told(settled=40), samples, "")["ratePerSecond"] == 6.0


def test_planning() -> None:
    raw = told(phase="planning")
    del raw["job"]["planned"]
    status = status_of(raw, [], "")
    assert status["state"] == "Planning"
    assert status["chunks"]["total"] is None
    assert conditions(status) == {"Planned": ("False", "Planning")}


def test_finishing() -> None:
    assert conditions(status_of(told(settled=100), [], ""))["Progressing"] == ("True", "Finishing")


@pytest.mark.parametrize(("dead", "reason"), [(0, "AllSucceeded"), (3, "FailuresTolerated")])
def test_complete(dead: int, reason: str) -> None:
    raw = told(phase="complete", settled=100, dead=dead, finished=1_010_000, output_digest="d" * 64)
    status = status_of(raw, [], "out")
    assert conditions(status)["Complete"] == ("True", reason)
    assert status["completionTime"] == "1970-01-01T00:16:50.000Z"
    assert status["ratePerSecond"] == 10.0
    assert ended(status)


def test_failed() -> None:
    status = status_of(told(phase="failed", reason="LoadFailed", message="no", finished=1_001_000), [], "")
    assert failure_of(status) == ("LoadFailed", "no")
    assert ended(status)


def test_suspended() -> None:
    assert conditions(status_of(told(suspended=1), [], "")) == {
        "Planned": ("True", "PlanWritten"),
        "Progressing": ("False", "SuspendedBySpec"),
        "Suspended": ("True", "SuspendedBySpec"),
    }


@pytest.mark.parametrize("phase", ["planning", "running", "complete", "failed"])
def test_it_is_a_status_of_the_custom_resource(phase: str) -> None:
    status = status_of(told(phase=phase, settled=10, finished=1_010_000), [], "out")
    del status["name"]
    assert ChunkJobStatus.model_validate(status).state == status["state"]
