"""What the watches have told, in whatever order."""

from __future__ import annotations

from typing import Any

from gristmill.controllers.world import World


def pod(version: int, uid: str = "u1", owner: str = "o", namespace: str = "n") -> dict[str, Any]:
    labels = {"gristmill.dev/uid": owner}
    return {
        "metadata": {
            "namespace": namespace,
            "name": "p",
            "uid": uid,
            "resourceVersion": str(version),
            "labels": labels,
        }
    }


def test_an_older_state_does_not_replace_a_newer() -> None:
    world = World()
    world.put("Pod", pod(5))
    world.put("Pod", pod(4))
    assert world.get("Pod", ("n", "p")) == pod(5)
    assert world.owned("Pod", "o", "n") == [pod(5)]


def test_another_object_of_the_same_name_does() -> None:
    world = World()
    world.put("Pod", pod(5))
    world.put("Pod", pod(6, "u2", "o2"))
    assert world.owned("Pod", "o", "n") == []
    world.drop("Pod", ("n", "p"), "u1")  # the first one's end, told late
    assert world.owned("Pod", "o2", "n") == [pod(6, "u2", "o2")]


def test_what_is_gone_is_forgotten() -> None:
    world = World()
    world.put("Pod", pod(5))
    assert world.drop("Pod", ("n", "p"), "u1") == pod(5)
    assert world.get("Pod", ("n", "p")) is None
    assert world.all("Pod") == []
    assert world.owned("Pod", "o", "n") == []


def test_a_label_in_another_namespace_says_nothing() -> None:
    world = World()
    world.put("Pod", pod(5, "u2", namespace="elsewhere"))
    assert world.owned("Pod", "o", "n") == []
    world.put("Pod", pod(5))
    assert world.owned("Pod", "o", "n") == [pod(5)]


def test_a_label_that_changes_leaves_nothing_with_its_former_owner() -> None:
    world = World()
    world.put("Pod", pod(5))
    world.put("Pod", pod(6, owner="o2"))
    assert (world.owned("Pod", "o", "n"), world.owned("Pod", "o2", "n")) == ([], [pod(6, owner="o2")])
    world.drop("Pod", ("n", "p"), "u1")
    assert world.owned("Pod", "o2", "n") == []
