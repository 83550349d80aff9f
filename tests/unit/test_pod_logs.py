"""The logs of pods, read little by little."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gristmill.remote.cluster import Cluster, ClusterError
from gristmill.remote.pod_logs import PodLogs


class _OnePod:
    """Stands for a cluster that has one pod."""

    def __init__(self) -> None:
        self.printed = ""

    def list(self, kind: str, **_: Any) -> list[dict[str, Any]]:
        return [{"metadata": {"name": "p"}}]

    def log(self, pod: str, since: str | None) -> str:
        return self.printed


def _refused(pod: str, since: str | None) -> str:
    raise ClusterError(502, "no route")


def read(logs: PodLogs) -> list[str]:
    return [record["text"] for record in logs.records()]


def test_a_node_that_does_not_answer_hides_no_other_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(self: Cluster, method: str, path: str) -> bytes:
        if "/pods/lost/" in path:
            raise ClusterError(500, "dial tcp 10.0.0.3:10250: i/o timeout")
        return b"2026-01-01T00:00:01Z hello\n"

    pods = [{"metadata": {"name": name}} for name in ("lost", "fine")]
    monkeypatch.setattr(Cluster, "_call", call)
    monkeypatch.setattr(Cluster, "list", lambda self, kind, **_: pods)
    cluster = object.__new__(Cluster)
    monkeypatch.setattr(Cluster, "_path", lambda self, kind, name="": f"/pods/{name}")
    texts = read(PodLogs(cluster, "u"))
    assert texts[0] == "hello"
    assert "i/o timeout" in texts[1]


def test_what_is_printed_while_a_node_does_not_answer_is_read_later() -> None:
    pod: Any = _OnePod()
    logs = PodLogs(pod, "u")
    pod.printed = "2026-01-01T00:00:01Z a\n"
    assert read(logs) == ["a"]
    answers, pod.log = pod.log, _refused
    assert [read(logs) for _ in range(3)] == [["no route"], [], []]
    pod.printed += "2026-01-01T00:00:02Z b\n"
    pod.log = answers
    assert read(logs) == ["b"]
    pod.log = _refused
    assert read(logs) == ["no route"]


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_a_line_ends_at_a_line_feed_only(odd: str) -> None:
    pod: Any = _OnePod()
    logs = PodLogs(pod, "u")
    pod.printed = f"2026-01-01T00:00:01.5Z a{odd}zz b\n"
    assert read(logs) == [f"a{odd}zz b"]
    record = orjson.dumps({"time": 2, "chunk": 1, "text": f"c{odd}zz"}).decode()
    pod.printed += f"2026-01-01T00:00:02.5Z {record}\n2026-01-01T00:00:03.5Z \n"
    assert read(logs) == [f"c{odd}zz", ""]


@pytest.mark.parametrize(
    "line", ["unable to retrieve container logs for containerd://1", "zz", "20260101 x", ""]
)
def test_what_has_no_time_does_not_end_the_reading(line: str) -> None:
    pod: Any = _OnePod()
    logs = PodLogs(pod, "u")
    pod.printed = f"{line}\n2026-01-01T00:00:01+01:00 a\n{line}\n"
    assert read(logs) == ["a"]
    pod.printed += "2026-01-01T00:00:02+01:00 b\n"
    assert read(logs) == ["b"]
