"""The pod that reads a job's results for somebody outside: what is said when it can't."""

from __future__ import annotations

from typing import Any

import pytest

from gristmill.errors import GristmillError
from gristmill.remote import reading
from gristmill.remote.cluster import ClusterError


class _LostNode:
    """Stands for a cluster whose node that has the pod does not answer."""

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return {"status": {"phase": "Failed"}}

    def log(self, pod: str, since: str | None) -> str:
        raise ClusterError(502, "dial tcp 10.0.0.7:10250: i/o timeout")


def test_a_lost_node_hides_not_what_could_not_be_done() -> None:
    cluster: Any = _LostNode()
    with pytest.raises(GristmillError, match=r"did not start \(Failed\):\n.*i/o timeout"):
        reading._await_start(cluster, "reader")
