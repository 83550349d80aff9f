"""Manifests for tests: a valid ChunkJob in which a test changes what it is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

#: a function whose calls, wherever they run, count themselves in a tree
COUNT = """
import gristmill.coordination
from gristmill.coordination.errors import Conflict

client = gristmill.coordination.connect()
tree = client.tree("tests")

def process(number):
    with client.lock("count") as lock:
        while True:
            node = tree.ensure("/count", 0)
            try:
                return tree.set("/count", node.json + 1, version=node.version, token=lock.token).json
            except Conflict:
                pass
"""


def chunk_job(name: str = "job", **spec: Any) -> dict[str, Any]:
    """A ChunkJob over ten numbers whose function is in the manifest; `spec` replaces fields of its spec."""
    given = {"input": {"range": {"stop": 10}}, "process": {"source": "def process(x):\n    return x\n"}}
    return {
        "apiVersion": "gristmill.dev/v1alpha1",
        "kind": "ChunkJob",
        "metadata": {"name": name},
        "spec": {**given, **spec},
    }


def numbers(stop: int, size: int = 1) -> dict[str, Any]:
    """The input and chunks of the numbers below `stop`, `size` in a chunk."""
    return {"input": {"range": {"stop": stop}}, "chunks": {"size": size}}


def source(text: str, **process: Any) -> dict[str, Any]:
    """A process whose source is this text."""
    return {"process": {"source": text, **process}}


def cache(name: str = "cache", **spec: Any) -> dict[str, Any]:
    """A Cache of 64Mi; `spec` replaces fields of its spec."""
    return {
        "apiVersion": "gristmill.dev/v1alpha1",
        "kind": "Cache",
        "metadata": {"name": name},
        "spec": {"capacity": "64Mi", **spec},
    }


def file_volume(name: str = "files", **spec: Any) -> dict[str, Any]:
    """A FileVolume of 1Gi a server; `spec` replaces fields of its spec."""
    return {
        "apiVersion": "gristmill.dev/v1alpha1",
        "kind": "FileVolume",
        "metadata": {"name": name},
        "spec": {"storage": "1Gi", **spec},
    }


def wheel(folder: Path, name: str) -> str:
    """A requirement that pip takes without a registry: of a package with one empty module of this name."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", "")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return f"{name} @ {path.as_uri()}"
