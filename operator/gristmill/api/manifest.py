"""From whatever a person wrote to a custom resource, or to the list of everything that is wrong with it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from gristmill.api.cache import Cache
from gristmill.api.chunkjob import ChunkJob
from gristmill.api.filevolume import FileVolume
from gristmill.api.names import API_VERSION, CACHE_KIND, FILE_VOLUME_KIND, KIND
from gristmill.api.rules import Model
from gristmill.api.sentences import problems
from gristmill.api.words import listed, path_of, shown
from gristmill.api.yamltext import MAX_BYTES, MAX_DEPTH, MAX_VALUES, parse
from gristmill.errors import ManifestError

_Resource = TypeVar("_Resource", bound=Model)
#: the kinds that Gristmill has
_MODELS: dict[str, type[ChunkJob | Cache | FileVolume]] = {
    KIND: ChunkJob,
    CACHE_KIND: Cache,
    FILE_VOLUME_KIND: FileVolume,
}


def load_manifest(source: str | Path | dict[str, Any]) -> ChunkJob:
    """Return the ChunkJob of a manifest: a path, a text of YAML or JSON, or a mapping.

    A str is a text if it has a line end or looks like a mapping (`{…` or `key: value`), else a path.
    ManifestError has a line for each fault: the field's path, a colon, a sentence.
    """
    return _validated(_load(source, KIND), ChunkJob)


def load_resource(source: str | Path | dict[str, Any]) -> ChunkJob | Cache | FileVolume:
    """Return the resource of a manifest, of any kind that Gristmill has; else as `load_manifest`."""
    data = _load(source, *_MODELS)
    return _validated(data, _MODELS[data["kind"]])


def _load(source: str | Path | dict[str, Any], *kinds: str) -> dict[str, Any]:
    """Return what a manifest of one of these kinds says."""
    data = source if isinstance(source, dict) else parse(_read(source))
    if not isinstance(data, dict):
        raise ManifestError(
            [f"manifest: must be a mapping with apiVersion, kind, metadata and spec, got {shown(data)}"]
        )
    _check_values(data)
    _check_kind(data, kinds)
    return data


def _validated(data: dict[str, Any], model: type[_Resource]) -> _Resource:
    try:
        return model.model_validate({key: value for key, value in data.items() if key != "status"})
    except ValidationError as error:
        raise ManifestError(problems(error, model)) from None


def _read(source: str | Path) -> str | bytes:
    if isinstance(source, str) and (not source or "\n" in source or ": " in source or source.startswith("{")):
        return source
    try:
        with open(os.fspath(source), "rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ManifestError([f"manifest: there is no file {shown(str(source))}"]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a path"
        raise ManifestError([f"manifest: can't read {shown(str(source))}: {reason}"]) from None


def _check_kind(data: dict[str, Any], kinds: tuple[str, ...]) -> None:
    """Refuse another kind of resource alone: what else would be said about it helps nobody."""
    wrong = [
        f"{name}: must be {listed(expected)}, got {shown(data.get(name))}"
        for name, expected in (("apiVersion", (API_VERSION,)), ("kind", kinds))
        if data.get(name) not in expected
    ]
    if wrong:
        raise ManifestError(wrong)


def _check_values(data: dict[str, Any]) -> None:
    """Refuse what JSON can't say, and what is too deep or too large once aliases are followed."""
    left = MAX_VALUES
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), data)]
    while pending:
        path, container = pending.pop()
        left -= len(container)
        if left < 0:
            raise ManifestError(
                [f"manifest: holds more than {MAX_VALUES:,} values; put the items into files"]
            )
        if len(path) >= MAX_DEPTH:
            raise ManifestError([f"{path_of(path[:3])}: is nested deeper than {MAX_DEPTH} levels"])
        entries: Iterable[tuple[Any, Any]] = (
            container.items() if isinstance(container, dict) else enumerate(container)
        )
        for key, value in entries:
            if isinstance(container, dict) and (not isinstance(key, str) or _fault(key)):
                raise ManifestError(
                    [f"{path_of(path) or 'manifest'}: has the key {shown(key)}; keys must be text"]
                )
            if isinstance(value, (dict, list, tuple)):
                pending.append(((*path, key), value))
            elif fault := _fault(value):
                raise ManifestError([f"{path_of((*path, key))}: {fault}"])


def _fault(value: Any) -> str:
    """Return what keeps a single value from being JSON, or nothing."""
    if isinstance(value, str):
        return (
            "" if value.isascii() or _is_unicode(value) else "must be Unicode text, without lone surrogates"
        )
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return "" if -(2**63) <= value < 2**64 else "is too large a number; 64 bits are the most"
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"must be a finite number, got {value}"
    return f"must be a JSON value, got a Python {type(value).__name__}"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
