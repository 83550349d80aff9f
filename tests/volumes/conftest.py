"""Storages that the same tests hold to what is promised: a folder, memory, and an S3 where there is one."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from gristmill.volumes.places import open_store
from gristmill.volumes.store import ContentStore

#: names a bucket (s3://…) for the tests; needs s3fs, which does not go together with the operator's requirements
S3 = os.environ.get("GRISTMILL_TEST_S3", "")


@pytest.fixture(params=["folder", "memory", *(["s3"] if S3 else [])])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ContentStore]:
    """Return the files of an empty volume."""
    if request.param == "folder":
        yield open_store(str(tmp_path / "volume"))
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


@pytest.fixture
def sampled() -> random.Random:
    """Return what draws a sample, the same again by its printed seed."""
    seed = os.environ.get("GRISTMILL_CHAOS_SEED") or secrets.token_hex(4)
    print(f"the same again: GRISTMILL_CHAOS_SEED={seed}")
    return random.Random(seed)
