"""What the operator does about Caches, and about the one that is its queue."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.unit.fake_api import FakeApi
from tests.unit.test_operating import config

from gristmill.controllers.caches import Caches
from gristmill.controllers.cluster import Cluster
from gristmill.controllers.world import World

KEY = ("home", "queue")


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def caches(api: FakeApi, world: World | None = None, **settings: str) -> Caches:
    return Caches(replace(config(), **settings), Cluster(api), world or World())  # type: ignore[arg-type]


def test_the_queue_is_made_and_then_kept_as_the_settings_say(api: FakeApi) -> None:
    asyncio.run(caches(api).keep_queue("1"))
    (made,) = api.all("Cache")
    assert made["spec"]["capacity"] == "512Mi"
    asyncio.run(caches(api, queue_capacity="1Gi", queue_size="4Gi").keep_queue("2"))
    (kept,) = api.all("Cache")
    assert kept["metadata"]["uid"] == made["metadata"]["uid"]
    assert kept["metadata"]["annotations"] == {"gristmill.dev/watched": "2"}
    assert (kept["spec"]["capacity"], kept["spec"]["storage"]) == ("1Gi", {"size": "4Gi"})
    asyncio.run(caches(api).keep_queue("3"))
    assert "storage" not in api.all("Cache")[0]["spec"]


def test_settings_that_the_queue_can_not_take_over_are_said(api: FakeApi) -> None:
    world = World()
    there = caches(api, world)
    asyncio.run(there.keep_queue("1"))
    api.refuses = lambda body: "storage.size: can't shrink" if "spec" in body else ""
    asyncio.run(there.keep_queue("2"))
    (kept,) = api.all("Cache")
    assert kept["metadata"]["annotations"] == {"gristmill.dev/watched": "2"}
    kept["metadata"]["generation"] = 1
    world.put("Cache", kept)
    asyncio.run(there.reconcile(KEY))
    (condition,) = api.all("Cache")[0]["status"]["conditions"]
    assert condition["message"].endswith(
        "the settings of the queue (the chart's values queue.*) are not applied: storage.size: can't shrink"
    )


def test_a_namespace_that_takes_no_events_takes_a_status(api: FakeApi) -> None:
    world = World()
    there = caches(api, world)
    asyncio.run(there.keep_queue("1"))
    (made,) = api.all("Cache")
    made["metadata"]["generation"] = 1
    world.put("Cache", made)
    api.refusals["POST /apis/events.k8s.io"] = (403, "the namespace is being terminated")
    asyncio.run(there.reconcile(KEY))
    assert api.all("Cache")[0]["status"]["conditions"]
