"""Right manifests are read as kubectl reads them, whatever form they come in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gristmill.api.chunkjob import ChunkJob
from gristmill.api.manifest import load_manifest, load_resource
from gristmill.errors import ManifestError

RIGHT = Path(__file__).parent.parent / "manifests" / "right"


def job(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "gristmill.dev/v1alpha1",
        "kind": "ChunkJob",
        "metadata": {"name": "right"},
        "spec": {"input": {"range": {"stop": 10}}, "process": {"function": "a:b"}} | spec,
    }


@pytest.mark.parametrize("manifest", sorted(RIGHT.iterdir()), ids=lambda path: path.stem)
def test_right_manifest_is_accepted_and_survives_a_round_trip(manifest: Path) -> None:
    loaded = load_resource(manifest)
    assert loaded.metadata.name == "right"
    assert loaded.status is None
    assert load_resource(loaded.model_dump(by_alias=True, exclude_none=True)) == loaded
    assert load_resource(loaded.model_dump_json(by_alias=True, exclude_none=True)) == loaded


def test_path_text_and_mapping_give_the_same() -> None:
    path = RIGHT / "minimal-range.yaml"
    expected = ChunkJob.model_validate(job(process={"function": "math:sqrt"}))
    assert load_manifest(path) == load_manifest(str(path)) == load_manifest(path.read_text()) == expected


def test_numbers_of_json_are_those_of_yaml() -> None:
    text = (RIGHT / "json.json").read_text().replace('"a/b"', "1.0, 2.5")
    assert repr(load_manifest(text).spec.input.items) == "['😀', 1, 2.5]"


def test_status_is_ignored() -> None:
    assert load_manifest(job() | {"status": {"whatever": "a later version writes"}}).status is None


def test_defaults() -> None:
    spec = load_manifest(job()).spec
    assert (spec.chunks.size, spec.chunks.bytes, spec.chunks.count) == (None, None, None)
    assert (spec.process.each, spec.process.memory_bytes) == ("item", None)
    assert (spec.workers.max, spec.workers.processes, spec.workers.lease_seconds) == (None, 1, 15)
    assert (spec.retry.attempts, spec.retry.infrastructure) == (3, 20)
    assert (spec.retry.backoff_seconds, spec.retry.backoff_max_seconds) == (1, 60)
    assert (spec.retry.timeout_seconds, spec.retry.final_exceptions) == (None, [])
    assert (spec.failures.tolerated, spec.failures.isolate, spec.failures.keep) == (0, True, 1000)
    assert (spec.durability, spec.suspend) == ("everysec", False)
    assert (spec.reduce, spec.output) == (None, None)


def test_values_are_read_as_kubectl_reads_them() -> None:
    items = load_manifest(RIGHT / "items-of-all-kinds.yaml").spec.input.items
    assert items == [
        1, -1.5, 1000.0, True, None, "text", "10", "2024-01-01", "1:30", [1, [2]], {"a": {"b": None}}, "é",
        31, 2**64 - 1,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 8), ("0o10", 8), ("1_000", 1000), ("-7", -7), ("+7", 7), ("08", 8), ("0b11", 3),
        ("1e3", 1000), (".5", 0.5), ("1.0", 1), ("1.5e-3", 0.0015), ("1.2.3", "1.2.3"),
        ("On", True), ("NO", False), ("y", True), ("~", None), ("!!str 5", "5"), ("'yes'", "yes"),
    ],
)  # fmt: skip
def test_plain_scalars(text: str, value: object) -> None:
    manifest = (RIGHT / "minimal-items.yaml").read_text().replace("items: []", f"items: [{text}]")
    items = load_manifest(manifest).spec.input.items
    assert items == [value]
    assert type(items[0]) is type(value)


def test_reduce_may_name_a_function_of_the_source() -> None:
    spec = load_manifest(RIGHT / "source-reduce.yaml").spec
    assert spec.reduce_name == "add"
    assert load_manifest(job(reduce={"function": "a:b"})).spec.reduce_name is None


@pytest.mark.parametrize(
    ("tolerated", "items", "allowed"),
    [
        (0, 100, 0), (7, 3, 7), ("5%", 100, 5), ("5%", 99, 4), ("2.5%", 1000, 25), ("0.1%", 1000, 1),
        ("100%", 10**15, 10**15),
    ],
)  # fmt: skip
def test_tolerated_failures(tolerated: int | str, items: int, allowed: int) -> None:
    assert load_manifest(job(failures={"tolerated": tolerated})).spec.failures.allowed(items) == allowed


@pytest.mark.parametrize(
    "bounds", [(0, 10, 3), (10, 0, -3), (5, 5, 1), (3, 1, 1), (-5, 6, 11), (0, 2**53, 1)]
)
def test_range_counts_like_pythons(bounds: tuple[int, int, int]) -> None:
    start, stop, step = bounds
    loaded = load_manifest(job(input={"range": {"start": start, "stop": stop, "step": step}}))
    assert loaded.spec.input.range is not None
    assert loaded.spec.input.range.count == len(range(start, stop, step))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({1, 2}, "spec.input.items[0]: must be a JSON value, got a Python set"),
        (b"x", "spec.input.items[0]: must be a JSON value, got a Python bytes"),
        ({1: 2}, "spec.input.items[0]: has the key 1; keys must be text"),
        ("\ud800", "spec.input.items[0]: must be Unicode text, without lone surrogates"),
    ],
)
def test_mapping_may_hold_json_only(value: object, problem: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(job(input={"items": [value]}))
    assert caught.value.problems == [problem]


def test_mapping_that_holds_itself_is_refused() -> None:
    items: list[Any] = []
    items.append(items)
    with pytest.raises(ManifestError, match=r"spec\.input\.items: is nested deeper than 100 levels"):
        load_manifest(job(input={"items": items}))


def test_a_model_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_manifest(job()).spec.suspend = True  # type: ignore[misc]


@pytest.mark.parametrize("module", ["yaml", "fsspec"])
def test_imports_that_cost_are_late(module: str) -> None:
    code = f"import sys, gristmill.api.manifest; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
