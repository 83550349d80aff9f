"""What is written to the API server, and what its refusals come to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.fake_api import FakeApi

from gristmill.controllers.cluster import ApiError, Cluster, Gone, NameTaken


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


def test_a_status_is_that_of_one_resource_and_not_of_the_next_with_its_name(
    api: FakeApi, cluster: Cluster, gone: list[tuple[str, ...]]
) -> None:
    api.add("ChunkJob", {"metadata": {"namespace": "n", "name": "mill", "uid": "new"}})
    with pytest.raises(Gone):
        asyncio.run(cluster.patch_status("ChunkJob", "n", "mill", {"state": "Complete"}, uid="old"))
    assert "status" not in api.all("ChunkJob")[0]
    assert gone == [("ChunkJob", "n", "mill", "old")]


def test_the_words_of_an_immutable_uid_mean_the_same(
    api: FakeApi, cluster: Cluster, gone: list[tuple[str, ...]]
) -> None:
    api.refusals["PATCH"] = (422, 'metadata.uid: Invalid value: "new": field is immutable')
    with pytest.raises(Gone):
        asyncio.run(cluster.patch("Job", "n", "j", {}, uid="old"))
    assert gone == [("Job", "n", "j", "old")]


@pytest.mark.parametrize("status", [403, 409, 422])
def test_other_refusals_are_none(
    api: FakeApi, cluster: Cluster, gone: list[tuple[str, ...]], status: int
) -> None:
    api.refusals["PATCH"] = (status, "the object has been modified")
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
