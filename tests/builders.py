"""Manifests for tests: a valid ChunkJob in which a test changes what it is about."""

from __future__ import annotations

from typing import Any


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
