"""The CRD is what the models say, is checked in, and keeps to what the API server takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gristmill.api.chunkjob import ChunkJob
from gristmill.api.crd import chunkjob_crd, to_yaml
from gristmill.api.yamltext import parse

ROOT = Path(__file__).parent.parent.parent
WRONG = ROOT / "tests" / "manifests" / "wrong"
VERSION: dict[str, Any] = chunkjob_crd()["spec"]["versions"][0]
SCHEMA: dict[str, Any] = VERSION["schema"]["openAPIV3Schema"]
ALLOWED = {
    "type", "description", "properties", "required", "items", "enum", "default", "format", "nullable",
    "minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength", "maxItems",
    "minProperties", "maxProperties",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string", "x-kubernetes-validations",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
}  # fmt: skip


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema of the CRD with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


NODES = dict(nodes(SCHEMA))


def test_checked_in_file_is_what_the_models_say() -> None:
    text = (ROOT / "crds" / "gristmill.dev_chunkjobs.yaml").read_text()
    assert text == to_yaml(chunkjob_crd()), (
        "run `python -m gristmill.api.crd > crds/gristmill.dev_chunkjobs.yaml`"
    )
    assert yaml.safe_load(text) == parse(text) == chunkjob_crd()


def test_texts_that_kubectl_takes_for_booleans_are_quoted() -> None:
    crd = {"y": ["n", "yes", "on", "1", "1e3"]}
    assert parse(to_yaml(crd)) == crd
    assert '"y"' in to_yaml(crd)


@pytest.mark.parametrize("path", NODES)
def test_structural(path: str) -> None:
    schema = NODES[path]
    assert set(schema) <= ALLOWED
    if "type" not in schema:
        assert schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if schema.get("type") == "array":
        assert "items" in schema
        assert "maxItems" in schema
    if schema.get("type") == "string" and path.startswith(".spec"):
        assert "maxLength" in schema or "enum" in schema
    if "exclusiveMinimum" in schema:
        assert schema["exclusiveMinimum"] is True
    assert set(schema.get("required", ())) <= set(schema.get("properties", ()))
    for rule in schema.get("x-kubernetes-validations", ()):
        steps = rule.get("fieldPath", "").split(".")[1:]
        assert f"{path}{''.join(f'.{step}' for step in steps)}" in NODES


def test_properties_are_the_fields_of_the_models() -> None:
    dumped = ChunkJob.model_json_schema()["$defs"]
    assert set(NODES[".spec"]["properties"]) == set(dumped["ChunkJobSpec"]["properties"])
    assert set(NODES[".status"]["properties"]) == set(dumped["ChunkJobStatus"]["properties"])


def test_defaults() -> None:
    defaults = {
        path: schema["default"]
        for path, schema in NODES.items()
        if path.startswith(".spec") and "default" in schema
    }
    assert defaults == {
        ".spec.input.range.start": 0, ".spec.input.range.step": 1, ".spec.input.lines.encoding": "utf-8",
        ".spec.chunks": {}, ".spec.workers": {}, ".spec.retry": {}, ".spec.failures": {},
        ".spec.process.each": "item", ".spec.output.format": "jsonl", ".spec.output.extension": "txt",
        ".spec.workers.processes": 1, ".spec.workers.leaseSeconds": 15,
        ".spec.retry.attempts": 3, ".spec.retry.infrastructure": 20,
        ".spec.retry.backoffSeconds": 1, ".spec.retry.backoffMaxSeconds": 60,
        ".spec.failures.tolerated": 0, ".spec.failures.isolate": True, ".spec.failures.keep": 1000,
        ".spec.durability": "everysec", ".spec.suspend": False,
    }  # fmt: skip


def test_columns_and_subresources() -> None:
    columns = {column["name"]: column["jsonPath"] for column in VERSION["additionalPrinterColumns"]}
    assert list(columns) == ["State", "Done", "Total", "Failed", "Workers", "ETA", "Age"]
    assert set(columns.values()) - {".metadata.creationTimestamp"} <= set(NODES)
    assert VERSION["subresources"]["status"] == {}
    assert set(VERSION["subresources"]["scale"].values()) <= set(NODES)


def wrong(*refused_by: str) -> list[Path]:
    return [
        path for path in sorted(WRONG.glob("*.yaml"))
        if any(f"# refused-by: {name}\n".encode() in path.read_bytes() for name in refused_by)
    ]  # fmt: skip


def test_every_wrong_manifest_says_who_can_refuse_it() -> None:
    assert len(wrong("schema", "cel", "python")) == len(list(WRONG.glob("*.yaml")))


@pytest.mark.parametrize("manifest", wrong("schema"), ids=lambda path: path.stem)
def test_schema_refuses(manifest: Path) -> None:
    data = parse(manifest.read_bytes())
    crd_is_for_it = data.get("apiVersion") == "gristmill.dev/v1alpha1" and data.get("kind") == "ChunkJob"
    assert not crd_is_for_it or not fits(data, SCHEMA)


@pytest.mark.parametrize("manifest", wrong("cel"), ids=lambda path: path.stem)
def test_schema_leaves_to_cel(manifest: Path) -> None:
    assert fits(parse(manifest.read_bytes()), SCHEMA)


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Tell whether a value fits a schema, as the API server judges (strictly: no unknown fields)."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return True
    if schema.get("x-kubernetes-int-or-string"):
        return isinstance(value, (int, str)) and not isinstance(value, bool)
    if "enum" in schema and value not in schema["enum"]:
        return False
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": (int, float),
    }
    if not isinstance(value, kinds[schema["type"]]) or isinstance(value, bool) != (
        schema["type"] == "boolean"
    ):
        return False
    if isinstance(value, dict):
        written = {key: inner for key, inner in value.items() if inner is not None}
        known = schema.get("properties", {})
        if schema is NODES[".metadata"]:
            return True
        return (
            written.keys() <= known.keys()
            and written.keys() >= set(schema.get("required", ()))
            and schema.get("minProperties", 0) <= len(written) <= schema.get("maxProperties", 99)
            and all(fits(inner, known[key]) for key, inner in written.items())
        )
    if isinstance(value, list):
        return len(value) <= schema["maxItems"] and all(fits(inner, schema["items"]) for inner in value)
    if isinstance(value, str):
        return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9)
    low, high = schema.get("minimum", value), schema.get("maximum", value)
    return bool(low <= value <= high and (value > low or not schema.get("exclusiveMinimum")))
