"""The CRDs are what the models say, are checked in, and keep to what the API server takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gristmill.api.cache import Cache
from gristmill.api.chunkjob import ChunkJob
from gristmill.api.crd import KINDS, make_crd, to_yaml
from gristmill.api.filevolume import FileVolume
from gristmill.api.rules import Model
from gristmill.api.yamltext import parse

ROOT = Path(__file__).parent.parent.parent
WRONG = ROOT / "tests" / "manifests" / "wrong"
MODELS: dict[str, type[Model]] = {"ChunkJob": ChunkJob, "Cache": Cache, "FileVolume": FileVolume}
CRDS = {kind: make_crd(kind) for kind in KINDS}
VERSIONS: dict[str, dict[str, Any]] = {kind: crd["spec"]["versions"][0] for kind, crd in CRDS.items()}
SCHEMAS: dict[str, dict[str, Any]] = {
    kind: version["schema"]["openAPIV3Schema"] for kind, version in VERSIONS.items()
}
ALLOWED = {
    "type", "description", "properties", "additionalProperties", "required", "items", "enum", "default",
    "format", "nullable",
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
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}.*")


NODES = {kind: dict(nodes(schema)) for kind, schema in SCHEMAS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_checked_in_file_is_what_the_models_say(kind: str) -> None:
    crd = CRDS[kind]
    text = (ROOT / "crds" / f"gristmill.dev_{crd['spec']['names']['plural']}.yaml").read_text()
    assert text == to_yaml(crd), "run `make manifests`"
    assert yaml.safe_load(text) == parse(text) == crd


@pytest.mark.parametrize("words", [(), ("Job",), ("Cache", "ChunkJob")])
def test_an_unknown_kind_is_told(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "gristmill.api.crd", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "usage: python -m gristmill.api.crd ChunkJob|Cache|FileVolume\n"


def test_texts_that_kubectl_takes_for_booleans_are_quoted() -> None:
    crd = {"spec": {"names": {"kind": "y"}}, "y": ["n", "yes", "on", "1", "1e3"]}
    assert parse(to_yaml(crd)) == crd
    assert '"y"' in to_yaml(crd)


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind in KINDS for path in NODES[kind]])
def test_structural(kind: str, path: str) -> None:
    schema = NODES[kind][path]
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
    if "additionalProperties" in schema:
        assert "properties" not in schema
        anything = schema["additionalProperties"].get("x-kubernetes-preserve-unknown-fields")
        assert anything or "maxProperties" in schema
    for rule in schema.get("x-kubernetes-validations", ()):
        steps = rule.get("fieldPath", "").split(".")[1:]
        assert f"{path}{''.join(f'.{step}' for step in steps)}" in NODES[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_properties_are_the_fields_of_the_models(kind: str) -> None:
    dumped = MODELS[kind].model_json_schema()["$defs"]
    assert set(NODES[kind][".spec"]["properties"]) == set(dumped[f"{kind}Spec"]["properties"])
    assert set(NODES[kind][".status"]["properties"]) == set(dumped[f"{kind}Status"]["properties"])


def defaults(kind: str) -> dict[str, Any]:
    return {
        path: schema["default"]
        for path, schema in NODES[kind].items()
        if path.startswith(".spec") and "default" in schema
    }


def test_defaults_of_a_chunkjob() -> None:
    assert defaults("ChunkJob") == {
        ".spec.input.range.start": 0, ".spec.input.range.step": 1, ".spec.input.lines.encoding": "utf-8",
        ".spec.chunks": {}, ".spec.workers": {}, ".spec.retry": {}, ".spec.failures": {},
        ".spec.process.each": "item", ".spec.output.format": "jsonl", ".spec.output.extension": "txt",
        ".spec.workers.min": 0, ".spec.workers.processes": 1, ".spec.workers.leaseSeconds": 15,
        ".spec.workers.template": {}, ".spec.workers.template.resources": {},
        ".spec.workers.template.env[].valueFrom.secretKeyRef.optional": False,
        ".spec.workers.template.env[].valueFrom.configMapKeyRef.optional": False,
        ".spec.workers.template.volumes[].emptyDir.medium": "",
        ".spec.workers.template.volumes[].configMap.optional": False,
        ".spec.workers.template.volumes[].secret.optional": False,
        ".spec.workers.template.volumes[].persistentVolumeClaim.readOnly": False,
        ".spec.workers.template.volumeMounts[].readOnly": False,
        ".spec.workers.template.tolerations[].operator": "Equal",
        ".spec.workers.template.terminationGracePeriodSeconds": 30,
        ".spec.retry.attempts": 3, ".spec.retry.infrastructure": 20,
        ".spec.retry.backoffSeconds": 1, ".spec.retry.backoffMaxSeconds": 60,
        ".spec.failures.tolerated": 0, ".spec.failures.isolate": True, ".spec.failures.keep": 1000,
        ".spec.durability": "everysec", ".spec.coordination": False, ".spec.acceptCode": False, ".spec.suspend": False,
    }  # fmt: skip


def test_defaults_of_a_cache() -> None:
    assert defaults("Cache") == {
        ".spec.eviction": "lru", ".spec.persistence": "none",
        ".spec.resources": {}, ".spec.resources.requests": {}, ".spec.resources.limits": {},
    }  # fmt: skip


def test_defaults_of_a_filevolume() -> None:
    assert defaults("FileVolume") == {
        ".spec.servers": 4, ".spec.copies": 3, ".spec.masters": 1, ".spec.deletionPolicy": "Retain", ".spec.filer": {},
        ".spec.resources": {}, ".spec.resources.requests": {}, ".spec.resources.limits": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("FileVolume", ["Ready", "Servers", "Used", "Free", "Files", "Under-replicated", "Age"]),
        ("ChunkJob", ["State", "Done", "Total", "Failed", "Workers", "ETA", "Age"]),
        ("Cache", ["Ready", "Capacity", "Eviction", "Persistence", "Endpoint", "Age"]),
    ],
)
def test_columns(kind: str, names: list[str]) -> None:
    columns = {column["name"]: column["jsonPath"] for column in VERSIONS[kind]["additionalPrinterColumns"]}
    assert list(columns) == names
    paths = {path.replace('[?(@.type=="Ready")]', "[]") for path in columns.values()}
    assert paths - {".metadata.creationTimestamp"} <= set(NODES[kind])


def test_subresources() -> None:
    assert all(version["subresources"]["status"] == {} for version in VERSIONS.values())
    assert set(VERSIONS["ChunkJob"]["subresources"]["scale"].values()) <= set(NODES["ChunkJob"])


def wrong(*refused_by: str) -> list[Path]:
    return [
        path for path in sorted(WRONG.glob("*.yaml"))
        if any(f"# refused-by: {name}\n".encode() in path.read_bytes() for name in refused_by)
    ]  # fmt: skip


def test_every_wrong_manifest_says_who_can_refuse_it() -> None:
    assert len(wrong("schema", "cel", "server", "client")) == len(list(WRONG.glob("*.yaml")))


@pytest.mark.parametrize("manifest", wrong("schema"), ids=lambda path: path.stem)
def test_schema_refuses(manifest: Path) -> None:
    data = parse(manifest.read_bytes())
    crd_is_for_it = data.get("apiVersion") == "gristmill.dev/v1alpha1" and data.get("kind") in KINDS
    assert not crd_is_for_it or not fits(data, SCHEMAS[data["kind"]])


@pytest.mark.parametrize("manifest", wrong("cel"), ids=lambda path: path.stem)
def test_schema_leaves_to_cel(manifest: Path) -> None:
    data = parse(manifest.read_bytes())
    assert fits(data, SCHEMAS[data["kind"]])


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
        others = schema.get("additionalProperties")
        known = dict.fromkeys(written, others) if others else schema.get("properties", {})
        if any(schema is paths[".metadata"] for paths in NODES.values()):
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
