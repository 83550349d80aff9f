"""What a ChunkJob must say to run on a cluster, as a table."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders import chunk_job

from gristmill.api.manifest import load_manifest
from gristmill.api.on_cluster import check_on_cluster
from gristmill.errors import ManifestError

CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
SCRATCH = {"name": "scratch", "emptyDir": {}}


def job(url: str, *mounts: tuple[str, str]) -> dict[str, Any]:
    volume_mounts = [{"name": name, "mountPath": path} for name, path in mounts]
    template = {"volumes": [CLAIM, SCRATCH], "volumeMounts": volume_mounts}
    return chunk_job(output={"url": url}, workers={"template": template})


@pytest.mark.parametrize(
    ("url", "mounts"),
    [
        ("/data", [("data", "/data")]),
        ("/data/a/b", [("data", "//data/")]),
        ("//data/./out", [("data", "/data")]),
        ("file:///data/a%20b", [("data", "/data")]),
        ("/data/kept/out", [("scratch", "/data"), ("data", "/data/kept")]),
        ("out", [("data", "/work")]),
        ("s3://bucket/out", []),
        ("volume://sales/out", []),
    ],
)
def test_an_output_that_outlives_the_pods_is_taken(url: str, mounts: list[tuple[str, str]]) -> None:
    check_on_cluster(load_manifest(job(url, *mounts)))


@pytest.mark.parametrize(
    ("url", "mounts"),
    [
        ("/tmp/out", []),
        ("/data", []),
        ("out", [("data", "/data")]),
        ("/database/out", [("data", "/data")]),
        ("/data/../out", [("data", "/data")]),
        ("file:///scratch/out", [("scratch", "/scratch")]),
        ("/data/scratch/out", [("data", "/data"), ("scratch", "/data/scratch")]),
    ],
)
def test_an_output_that_goes_with_the_pods_is_refused(url: str, mounts: list[tuple[str, str]]) -> None:
    with pytest.raises(
        ManifestError, match=r"spec\.output\.url: .* goes with the pods .* PersistentVolumeClaim"
    ):
        check_on_cluster(load_manifest(job(url, *mounts)))


def test_a_reduction_has_an_output() -> None:
    with pytest.raises(ManifestError, match=r"spec\.output\.url: is needed on a cluster with a reduce"):
        check_on_cluster(load_manifest(chunk_job(reduce={"function": "operator:add"})))
