"""The operator deletes the sessions whose programs have died, by its own clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.fake_api import FakeApi

from gristmill.controllers.cluster import ApiError, Cluster
from gristmill.controllers.sessions import Sessions


class Time:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def sessions(api: FakeApi, clock: Time) -> Sessions:
    return Sessions(Cluster(api), (), clock)


def lease(name: str = "s", seconds: int = 12, renewed: str = "1999", namespace: str = "a") -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"coordination.gristmill.dev/kind": "session"},
        },
        "spec": {"holderIdentity": "x", "leaseDurationSeconds": seconds, "renewTime": renewed},
    }


def look(sessions: Sessions) -> float:
    return asyncio.run(sessions.look())


def names(api: FakeApi) -> list[str]:
    return [found["metadata"]["name"] for found in api.all("Lease")]


def test_one_that_is_renewed_stays_and_one_that_is_not_goes_whatever_its_times_say(
    api: FakeApi, sessions: Sessions, clock: Time
) -> None:
    api.add("Lease", lease("dead"))
    for second in range(9):
        alive = api.objects.get(("Lease", "a", "alive"), {"metadata": {}})["metadata"].get("uid", "alive")
        renewed = lease("alive", renewed=f"1970-{second}")
        renewed["metadata"]["uid"] = alive
        api.add("Lease", renewed)
        look(sessions)
        assert sorted(names(api)) == ["alive", "dead"]
        clock.now += 1
    look(sessions)
    assert names(api) == ["alive"]


def test_it_looks_more_often_where_a_session_is_short(api: FakeApi, sessions: Sessions) -> None:
    assert look(sessions) == 2.0
    api.add("Lease", lease("long", 600))
    assert look(sessions) == 2.0
    api.add("Lease", lease("short", 6))
    assert look(sessions) == 0.5
    api.add("Lease", lease("shortest", 1))
    assert look(sessions) == 0.25


def test_a_look_that_takes_long_is_not_soon_followed_by_another(
    api: FakeApi, sessions: Sessions, clock: Time
) -> None:
    """Whoever may make Leases can make many."""

    class Slow(dict[Any, Any]):
        def items(self) -> Any:
            clock.now += 0.5
            return super().items()

    api.objects = Slow()
    api.add("Lease", lease("short", 1))
    assert look(sessions) == 5.0


def test_a_session_that_is_renewed_while_it_is_looked_at_stays(api: FakeApi, clock: Time) -> None:
    late = lease(renewed="2000")

    def renewing() -> float:
        """Return the time; it is asked for when a look begins, and for each that was read."""
        if len(api.calls) == 2:
            api.add("Lease", late)
        return clock()

    sessions = Sessions(Cluster(api), (), renewing)
    late["metadata"]["uid"] = api.add("Lease", lease())["metadata"]["uid"]
    look(sessions)
    clock.now += 9
    look(sessions)
    assert "DELETE /apis/coordination.k8s.io/v1/namespaces/a/leases/s" in api.calls
    assert names(api) == ["s"]


def test_a_namespace_that_may_not_be_read_keeps_no_other_waiting(api: FakeApi, clock: Time) -> None:
    sessions = Sessions(Cluster(api), ("lost", "a"), clock)
    api.refusals["GET /apis/coordination.k8s.io/v1/namespaces/lost"] = (403, "you may not")
    api.add("Lease", lease())
    look(sessions)
    clock.now += 9
    look(sessions)
    assert names(api) == []
    api.refusals["GET"] = (500, "not now")
    with pytest.raises(ApiError):
        look(sessions)


def test_one_that_may_not_be_deleted_keeps_no_other_waiting_and_is_told_of_once(
    api: FakeApi, sessions: Sessions, clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    api.refusals["DELETE /apis/coordination.k8s.io/v1/namespaces/a/"] = (403, "a webhook denies it")
    api.add("Lease", lease("guarded"))
    api.add("Lease", lease("other", namespace="b"))
    for _ in range(3):
        look(sessions)
        clock.now += 60
    assert names(api) == ["guarded"]
    assert [one.getMessage() for one in caplog.records if one.levelname == "WARNING"] == [
        "a/guarded: this session is over, and stays: a webhook denies it"
    ]
