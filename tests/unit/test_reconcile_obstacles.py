"""Why there are no workers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.reconcile_builders import job_of, pod, resource

from gristmill.reconcilers.obstacles import obstacle_of

QUOTA = 'pods "x" is forbidden: exceeded quota: small, requested: pods=1'
PULLING = {
    "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]
}
NO_NODE = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]}


@pytest.mark.parametrize(
    ("pods", "warnings", "reason", "words"),
    [
        ([pod("Pending", **PULLING)], [], "ImageUnavailable", "p: no such image"),
        ([pod("Pending", **NO_NODE)], [], "Unschedulable", "0/1 nodes are available"),
        ([], [("FailedCreate", QUOTA)], "QuotaExceeded", QUOTA),
        ([], [("FailedCreate", "violates PodSecurity")], "PodsRefused", "violates PodSecurity"),
        ([pod()], [("FailedCreate", QUOTA)], None, ""),
        ([pod("Succeeded")], [("FailedCreate", QUOTA)], "QuotaExceeded", QUOTA),
        ([], [("SuccessfulCreate", "")], None, ""),
        ([pod("Running", containerStatuses=[{"state": {"running": {}}}])], [], None, ""),
    ],
)
def test_what_is_in_the_way(pods: Any, warnings: Any, reason: str | None, words: str) -> None:
    found = obstacle_of(job_of(resource()), pods, warnings)
    assert found == ((reason, words) if reason else None)


def test_a_suspended_job_is_somebody_elses_wish() -> None:
    job = job_of(resource())
    job["spec"]["suspend"] = True
    assert (obstacle_of(job, [], []) or ("",))[0] == "JobSuspended"
    assert obstacle_of(None, [], []) is None
