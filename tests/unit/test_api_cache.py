"""A Cache says what it holds and for how long; what it leaves out has a default."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from tests.builders import cache, chunk_job

from gristmill.api.cache import Cache
from gristmill.api.manifest import load_manifest, load_resource
from gristmill.api.resources import processors
from gristmill.cli.checking import check_files
from gristmill.errors import ManifestError


def load(**spec: Any) -> Cache:
    loaded = load_resource(cache(**spec))
    assert isinstance(loaded, Cache)
    return loaded


def test_defaults() -> None:
    spec = load(capacity="64Mi").spec
    assert (spec.capacity, spec.eviction, spec.persistence, spec.storage) == (64 * 2**20, "lru", "none", None)
    for given in (spec.resources.requests, spec.resources.limits):
        assert (given.cpu, given.memory) == (None, None)


@pytest.mark.parametrize(
    ("storage", "size"),
    [
        (None, 128 * 2**20),
        ({}, 128 * 2**20),
        ({"storageClassName": "fast"}, 128 * 2**20),
        ({"size": "1G"}, 10**9),
    ],
)
def test_a_volume_is_twice_the_capacity_unless_it_is_said(storage: dict[str, str] | None, size: int) -> None:
    assert load(capacity="64Mi", persistence="log", storage=storage).spec.storage_size == size


@pytest.mark.parametrize(
    ("text", "value"),
    [(1, 1), ("2", 2), ("500m", Fraction(1, 2)), ("0.25", Fraction(1, 4)), ("1.5", Fraction(3, 2))],
)
def test_processors(text: int | str, value: Fraction) -> None:
    assert processors(text) == value
    assert load(resources={"limits": {"cpu": text}}).spec.resources.limits.cpu == text


@pytest.mark.parametrize(
    "cpu", [0, -1, 1000, True, "1000", "0", "0m", "0.0", "-1", "1.2345", "1e3", "1k", "m", " 1", ""]
)
def test_what_is_no_number_of_processors(cpu: object) -> None:
    with pytest.raises(ManifestError, match=r"^spec\.resources\.limits\.cpu: must be a number of processors"):
        load(resources={"limits": {"cpu": cpu}})


@pytest.mark.parametrize("name", ["a", "a1", "a-b", "n" * 52])
def test_names(name: str) -> None:
    assert load_resource(cache(name)).metadata.name == name


@pytest.mark.parametrize("name", ["", "1a", "-a", "a-", "n" * 53, "a.b", "A", "a\n"])
def test_names_of_which_kubernetes_makes_no_service_or_pod(name: str) -> None:
    with pytest.raises(ManifestError, match=r"^metadata\.name: must be a name of 1 to 52"):
        load_resource(cache(name))


def test_only_a_chunkjob_runs() -> None:
    with pytest.raises(ManifestError, match=r"^kind: must be ChunkJob, got 'Cache'$"):
        load_manifest(cache())
    assert load_resource(chunk_job()) == load_manifest(chunk_job())


def test_validate_takes_both_kinds(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    text = "apiVersion: gristmill.dev/v1alpha1\nkind: Cache\nmetadata: {name: c}\nspec: {capacity: %s}\n"
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(text % "64Mi")
    bad.write_text(text % "1Mi")
    assert check_files([good], as_json=False) == 0
    assert check_files([good, bad], as_json=False) == 2
    told = capsys.readouterr()
    assert told.out == f"{good}: ok\n" * 2
    assert told.err == f"{bad}: error: spec.capacity: must be between 16Mi and 1Ti, got 1048576\n"
