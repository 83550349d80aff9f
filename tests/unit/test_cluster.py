"""What is written to the API server, and what its refusals come to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.fake_api import FakeApi

from gristmill.controllers.cluster import ApiError, Cluster, Gone, NameTaken, Outdated


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def gone(api: FakeApi) -> list[tuple[str, ...]]:
    return []


@pytest.fixture
def cluster(api: FakeApi, gone: list[tuple[str, ...]]) -> Cluster:
    cluster = Cluster(api)
    cluster.on_gone = lambda *what: gone.append(what)
    return cluster


def secret(owner: str = "o", url: str = "bmV3", **labels: str) -> dict[str, Any]:
    metadata = {"namespace": "n", "name": "s", "labels": labels, "ownerReferences": [{"uid": owner}]}
    return {"kind": "Secret", "metadata": metadata, "data": {"url": url}}


def mill(uid: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "n", "name": "mill", "uid": uid}}


def test_a_status_is_that_of_one_resource_and_not_of_the_next_with_its_name(
    api: FakeApi, cluster: Cluster
) -> None:
    """Of a custom resource's status the API server takes the status and nothing else: a uid would be passed over."""
    former = api.add("ChunkJob", mill("old"))
    api.add("ChunkJob", mill("new"))
    with pytest.raises(Outdated):
        asyncio.run(cluster.patch_status("ChunkJob", former, {"state": "Complete"}))
    assert "status" not in api.all("ChunkJob")[0]


def test_a_status_of_what_is_gone_is_none(
    api: FakeApi, cluster: Cluster, gone: list[tuple[str, ...]]
) -> None:
    former = api.add("ChunkJob", mill("old"))
    api.objects.clear()
    with pytest.raises(Gone):
        asyncio.run(cluster.patch_status("ChunkJob", former, {"state": "Complete"}))
    assert gone == [("ChunkJob", "n", "mill", "old")]


@pytest.mark.parametrize(
    "answer", [None, (409, "Precondition failed: UID in precondition: a, UID in object meta: b")]
)
def test_a_patch_is_for_one_object_and_not_for_the_next_with_its_name(
    api: FakeApi, cluster: Cluster, gone: list[tuple[str, ...]], answer: tuple[int, str] | None
) -> None:
    api.add("ChunkJob", mill("new"))
    api.refusals = {"PATCH": answer} if answer else {}
    with pytest.raises(Gone):
        asyncio.run(cluster.patch("ChunkJob", "n", "mill", {"spec": {"a": 1}}, uid="old"))
    assert "spec" not in api.all("ChunkJob")[0]
    assert gone == [("ChunkJob", "n", "mill", "old")]


def test_what_has_changed_meanwhile_is_not_gone(
    api: FakeApi, cluster: Cluster, gone: list[tuple[str, ...]]
) -> None:
    api.refusals["PATCH"] = (409, "the object has been modified")
    with pytest.raises(Outdated):
        asyncio.run(cluster.patch("Job", "n", "j", {}, uid="old"))
    assert not gone


@pytest.mark.parametrize("status", [403, 422])
def test_other_refusals_are_none(
    api: FakeApi, cluster: Cluster, gone: list[tuple[str, ...]], status: int
) -> None:
    api.refusals["PATCH"] = (status, "spec.parallelism: must be a number")
    with pytest.raises(ApiError):
        asyncio.run(cluster.patch("Job", "n", "j", {}, uid="old"))
    assert not gone


def test_what_is_to_be_deleted_and_is_gone_is_told(cluster: Cluster, gone: list[tuple[str, ...]]) -> None:
    asyncio.run(cluster.delete("Job", "n", "j", uid="old"))
    assert gone == [("Job", "n", "j", "old")]


def test_what_is_there_gets_its_labels_and_data_back(api: FakeApi, cluster: Cluster) -> None:
    api.add("Secret", secret(url="b2xk"))
    found = asyncio.run(cluster.create(secret(url="bmV3", mine="yes")))
    assert found is not None
    assert (found["data"], found["metadata"]["labels"]) == ({"url": "bmV3"}, {"mine": "yes"})


def test_what_is_somebody_elses_is_left_alone(api: FakeApi, cluster: Cluster) -> None:
    api.add("Secret", secret("another", url="b2xk"))
    with pytest.raises(NameTaken):
        asyncio.run(cluster.create(secret()))
    assert api.all("Secret")[0]["data"] == {"url": "b2xk"}


@pytest.mark.parametrize("there", [True, False])
def test_a_quota_does_not_keep_from_what_is_there(api: FakeApi, cluster: Cluster, there: bool) -> None:
    """Where no more may be made, the API server says so before it sees that the name exists."""
    if there:
        api.add("Secret", secret(url="b2xk"))
    api.refusals["POST"] = (403, "exceeded quota: count/secrets")
    if there:
        found = asyncio.run(cluster.create(secret(url="bmV3")))
        assert found is not None
        assert found["data"] == {"url": "bmV3"}
    else:
        with pytest.raises(ApiError, match="exceeded quota"):
            asyncio.run(cluster.create(secret()))


def test_what_nobody_owns_and_may_not_be_made_is_refused(api: FakeApi, cluster: Cluster) -> None:
    api.refusals["POST"] = (403, "the namespace is being terminated")
    manifest = {"kind": "Event", "metadata": {"namespace": "n", "name": "e"}}
    with pytest.raises(ApiError, match="terminated"):
        asyncio.run(cluster.create(manifest))


def test_what_may_not_be_changed_is_not_for_that_somebody_elses(api: FakeApi, cluster: Cluster) -> None:
    api.add("Secret", secret())
    api.refusals["PATCH"] = (403, "you may not")
    with pytest.raises(ApiError, match="you may not") as refused:
        asyncio.run(cluster.create(secret()))
    assert not isinstance(refused.value, NameTaken)
