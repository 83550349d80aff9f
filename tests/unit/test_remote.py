"""What is read from a cluster's objects, logs and URLs: functions of values."""

from __future__ import annotations

from typing import Any

import pytest

from gristmill.cli.text import paragraph
from gristmill.errors import GristmillError, UsageError
from gristmill.remote.cluster import ClusterError
from gristmill.remote.place import ClusterJob
from gristmill.remote.pod_logs import record_of
from gristmill.remote.status import has_ended, status_in
from gristmill.remote.tunnel import queue_pod


def resource(generation: int = 1, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "mill", "generation": generation}, "status": status}


def condition(kind: str, reason: str, message: str = "", status: str = "True") -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


def test_a_resource_without_a_status_is_pending() -> None:
    status = status_in({"metadata": {"name": "mill"}})
    assert (status["state"], status["chunks"]["total"], status["workers"]) == ("Pending", None, 0)
    assert paragraph(status)[0] == "mill: Pending"
    assert not has_ended({"metadata": {"name": "mill"}})


def test_what_is_in_the_way_is_told() -> None:
    waiting = condition("Progressing", "QuotaExceeded", "no room", "False")
    told = paragraph(status_in(resource(state="Pending", conditions=[waiting])))
    assert "  Progressing: QuotaExceeded: no room" in told


def test_that_a_former_manifest_was_wrong_is_no_end() -> None:
    wrong = condition("Failed", "InvalidSpec", "spec.x: must be y")
    assert has_ended(resource(1, state="Failed", conditions=[wrong]))
    assert not has_ended(resource(2, state="Failed", conditions=[wrong]))
    assert has_ended(resource(2, state="Failed", conditions=[condition("Failed", "DeadlineExceeded")]))
    assert has_ended(resource(2, state="Complete", conditions=[condition("Complete", "AllSucceeded")]))


def test_the_pod_of_a_queue() -> None:
    assert queue_pod("redis://job-1:pw@queue.system.svc:6379/0") == ("queue-0", "system", 6379)
    assert queue_pod("redis://u:p@q.ns.svc.cluster.local/0") == ("q-0", "ns", 6379)
    with pytest.raises(GristmillError, match="not one of the cluster's own"):
        queue_pod("redis://u:p@cache.example.com:6379/0")


@pytest.mark.parametrize("text", ["Traceback (most recent call last):", "[1]", '{"a": 1}', "", "7"])
def test_lines_that_are_no_records_are_the_workers(text: str) -> None:
    record = record_of("2026-01-01T00:00:00.500000000Z", text, "pod-1")
    assert record == {
        "time": 1767225600.5,
        "chunk": -1,
        "stream": "worker",
        "text": text,
        "worker": "pod-1",
    }


def test_records_are_taken_as_they_are() -> None:
    text = '{"time":1.5,"chunk":3,"stream":"stdout","text":"hello"}'
    assert record_of("2026-01-01T00:00:00Z", text, "pod-1")["text"] == "hello"


class _OneJob:
    """Stands for a cluster that has one ChunkJob."""

    namespace, options, is_own = "here", "", False

    def __init__(self, found: dict[str, Any], refusal: int = 0) -> None:
        self.found = found
        self.refusal = refusal
        self.patches: list[dict[str, Any]] = []

    def patch(self, kind: str, name: str, body: dict[str, Any]) -> None:
        self.patches.append(body)
        if self.refusal:
            raise ClusterError(self.refusal, "no")

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        return self.found if kind == "ChunkJob" else None


@pytest.mark.parametrize(
    ("status", "output"),
    [
        ({}, "s3://new/out"),
        ({"startTime": "2026-01-01T00:00:00Z", "output": "s3://old/out"}, "s3://old/out"),
    ],
)
def test_results_are_where_the_job_began_to_write_them(status: dict[str, Any], output: str) -> None:
    found = resource(2, **status)
    found["metadata"]["uid"] = "u"
    found["spec"] = {"output": {"url": "s3://new/out"}}
    job = ClusterJob(_OneJob(found), "mill")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=output):
        next(job.results(take=True))


def test_results_that_the_queue_keeps_stay_there_when_the_spec_names_an_output_later() -> None:
    found = resource(2, startTime="2026-01-01T00:00:00Z")
    found["metadata"]["uid"] = "u"
    found["spec"] = {"output": {"url": "s3://new/out"}}
    job = ClusterJob(_OneJob(found), "mill")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="has not been started"):
        next(job.results(take=True))


@pytest.mark.parametrize("refusal", [0, 403])
def test_the_operator_is_told_of_a_job_that_is_opened_again(refusal: int) -> None:
    found = resource(1)
    found["metadata"]["uid"] = "u"
    cluster = _OneJob(found, refusal)
    with ClusterJob(cluster, "mill").reopening():  # type: ignore[arg-type]
        assert cluster.patches == []  # (who looks before finds nothing)
    (patch,) = cluster.patches
    assert [*patch["metadata"]["annotations"]] == ["gristmill.dev/reopened"]
