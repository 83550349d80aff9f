"""What the operator does about Caches, and about the one that is its queue."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import Any

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


def begun(api: FakeApi, world: World) -> Caches:
    """A Cache of which nothing was made yet."""
    there = caches(api, world)
    asyncio.run(there.keep_queue("1"))
    (made,) = api.all("Cache")
    made["metadata"]["generation"] = 1
    world.put("Cache", made)
    return there


def serving(api: FakeApi, world: World) -> Caches:
    """A Cache that serves, with all that was made for it."""
    there = begun(api, world)
    asyncio.run(there.reconcile(KEY))
    (found,) = api.all("StatefulSet")
    found["metadata"]["generation"] = 1
    found["status"] = {"readyReplicas": 1, "observedGeneration": 1}
    world.put("StatefulSet", found)
    return there


def secret_of_pods(api: FakeApi) -> str:
    """Say which password the pods were started with."""
    (found,) = api.all("StatefulSet")
    return str(found["spec"]["template"]["metadata"]["annotations"]["gristmill.dev/secret"])


def password_and_url(api: FakeApi) -> tuple[str, str]:
    (found,) = api.all("Secret")
    password, url = (base64.b64decode(found["data"][name]).decode() for name in ("password", "url"))
    return password, url


def url_of(password: str) -> str:
    return f"redis://default:{password}@queue.home.svc:6379"


def test_a_secret_that_somebody_deleted_is_made_again_and_the_pod_restarts_with_it(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.controllers.kept_secrets._SECRET_SECONDS", 0.0)
    there = serving(api, World())
    former, started_with = password_and_url(api)[0], secret_of_pods(api)
    del api.objects["Secret", "home", "queue-auth"]
    asyncio.run(there.reconcile(KEY))
    assert password_and_url(api)[0] != former
    assert secret_of_pods(api) != started_with


def test_an_operator_that_begins_makes_the_secret_of_a_queue_that_serves(api: FakeApi) -> None:
    world = World()
    serving(api, world)
    started_with = secret_of_pods(api)
    del api.objects["Secret", "home", "queue-auth"]
    asyncio.run(caches(api, world).reconcile(KEY))
    assert api.all("Secret")
    assert secret_of_pods(api) != started_with


def test_a_secret_is_made_at_once_where_the_pod_does_not_serve(api: FakeApi) -> None:
    world = World()
    there = serving(api, world)
    (found,) = api.all("StatefulSet")
    world.put("StatefulSet", {**found, "status": {"readyReplicas": 0, "observedGeneration": 1}})
    del api.objects["Secret", "home", "queue-auth"]
    asyncio.run(there.reconcile(KEY))
    assert api.all("Secret")


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"url": "eA=="},
        {"password": "", "url": "eA=="},
    ],
)
def test_a_password_that_somebody_took_out_is_made_anew_and_the_pod_restarts_with_it(
    api: FakeApi, data: dict[str, str] | None
) -> None:
    world = World()
    serving(api, world)
    former, started_with = password_and_url(api)[0], secret_of_pods(api)
    (found,) = api.all("Secret")
    found["data"] = data
    there = caches(api, world)
    assert asyncio.run(there.queue_password()) == ""
    asyncio.run(there.reconcile(KEY))
    password, url = password_and_url(api)
    assert password not in ("", former)
    assert url == url_of(password)
    assert secret_of_pods(api) != started_with
    assert asyncio.run(there.queue_password()) == password


@pytest.mark.parametrize(
    ("coded", "quoted"), [("bXkgb3duL0A=", "my%20own%2F%40"), ("/w==", "%FF")], ids=["text", "bytes"]
)
def test_a_password_that_somebody_wrote_is_the_pods(api: FakeApi, coded: str, quoted: str) -> None:
    world = World()
    serving(api, world)
    started_with = secret_of_pods(api)
    (found,) = api.all("Secret")
    found["data"]["password"] = coded
    asyncio.run(caches(api, world).reconcile(KEY))
    (found,) = api.all("Secret")
    assert found["data"]["password"] == coded
    assert base64.b64decode(found["data"]["url"]).decode() == url_of(quoted)
    assert secret_of_pods(api) != started_with


def test_what_the_pod_says_of_its_password_tells_nothing_of_it(api: FakeApi) -> None:
    """Who may see pods may try what people take for passwords."""
    said = set()
    for _ in range(2):
        world = World()
        serving(api, world)
        (found,) = api.all("Secret")
        found["data"]["password"] = "MTIzNA=="
        asyncio.run(caches(api, world).reconcile(KEY))
        said.add(secret_of_pods(api))
        api.objects.clear()
    assert len(said) == 2


@pytest.mark.parametrize("pause", [0.0, 600.0])
def test_a_secret_that_is_there_stays_and_restarts_nothing(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    monkeypatch.setattr("gristmill.controllers.kept_secrets._SECRET_SECONDS", pause)
    there = serving(api, World())
    (former,) = api.all("Secret")
    before = password_and_url(api), former["metadata"]["uid"], secret_of_pods(api)
    api.calls.clear()
    asyncio.run(there.reconcile(KEY))
    (found,) = api.all("Secret")
    assert (password_and_url(api), found["metadata"]["uid"], secret_of_pods(api)) == before
    assert not any("statefulsets" in call for call in api.calls)
    assert any("secrets" in call for call in api.calls) == (not pause)


def resources_of_pods(api: FakeApi) -> Any:
    (found,) = api.all("StatefulSet")
    return found["spec"]["template"]["spec"]["containers"][0]["resources"]


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (
            {"requests": {"cpu": "20m"}, "limits": {"cpu": 1}},
            {"requests": {"cpu": "20m"}},
            {"requests": {"cpu": "20m"}, "limits": {"memory": "832Mi"}},
        ),
        (
            {"requests": {"cpu": "20m", "memory": "1Gi"}, "limits": {"cpu": 1}},
            {"requests": {"cpu": "20m"}},
            {"requests": {"cpu": "20m"}, "limits": {"memory": "832Mi"}},
        ),
        (
            {"limits": {"cpu": 1}},
            None,
            {"requests": {"cpu": "50m"}, "limits": {"memory": "832Mi"}},
        ),
    ],
)
def test_what_the_spec_says_no_more_is_taken_away(
    api: FakeApi, before: dict[str, Any], after: dict[str, Any] | None, wanted: dict[str, Any]
) -> None:
    world = World()
    there = serving(api, world)
    for resources in (before, after):
        (cache,) = api.all("Cache")
        cache["spec"]["resources"] = resources or {}
        world.put("Cache", cache)
        asyncio.run(there.reconcile(KEY))
    assert resources_of_pods(api) == wanted
    calls = len(api.calls)
    asyncio.run(there.reconcile(KEY))
    assert not any("statefulsets" in call for call in api.calls[calls:])


def test_a_stateful_set_that_another_has_made_is_not_changed(api: FakeApi) -> None:
    world = World()
    there = serving(api, world)
    (known,) = api.all("StatefulSet")
    of_nobody = {**known["metadata"], "uid": "another", "ownerReferences": []}
    stranger = api.add("StatefulSet", {**known, "metadata": of_nobody})
    world.put("StatefulSet", known)
    (cache,) = api.all("Cache")
    cache["spec"]["resources"] = {"limits": {"cpu": 1}}
    world.put("Cache", cache)
    asyncio.run(there.reconcile(KEY))
    assert api.all("StatefulSet") == [stranger]


def condition(api: FakeApi) -> dict[str, Any]:
    (found,) = api.all("Cache")[0]["status"]["conditions"]
    return dict(found)


@pytest.mark.parametrize(
    "made", ["api/v1/namespaces/home/secrets", "api/v1/namespaces/home/services", "apis/apps/v1"]
)
@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ((403, "exceeded quota: few"), "QuotaExceeded"),
        ((403, "you may not"), "Refused"),
        ((400, "it can't be read"), "Refused"),
        ((422, "spec: Invalid value"), "Refused"),
    ],
)
def test_what_can_not_be_made_is_said_and_tried_again(
    api: FakeApi, made: str, refusal: tuple[int, str], reason: str
) -> None:
    world = World()
    there = begun(api, world)
    api.refusals[f"POST /{made}"] = refusal
    assert asyncio.run(there.reconcile(KEY))
    found = condition(api)
    assert (found["status"], found["reason"]) == ("False", reason)
    assert refusal[1] in found["message"]
    api.refusals.clear()
    asyncio.run(there.reconcile(KEY))
    assert condition(api)["reason"] == "Starting"


def test_a_change_that_is_refused_is_said_of_what_serves(api: FakeApi) -> None:
    world = World()
    there = serving(api, world)
    (cache,) = api.all("Cache")
    cache["spec"]["resources"] = {"limits": {"cpu": 1}}
    world.put("Cache", cache)
    api.refusals["PATCH /apis/apps/v1"] = (422, "limits.cpu: at most 500m")
    assert asyncio.run(there.reconcile(KEY))
    found = condition(api)
    assert (found["status"], found["reason"]) == ("True", "Serving")
    assert found["message"].endswith("; the API server refuses what it needs: limits.cpu: at most 500m")
