"""The user's function or class: found and loaded. The only place that imports what a user wrote."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

from gristmill.api.chunkjob import ChunkJobSpec
from gristmill.api.source import entry_point
from gristmill.errors import LoadError, ReduceError

#: the name of the module that `process.source` becomes
SOURCE_MODULE = "gristmill_job_source"
#: what this process loads now: names, and a source
_loading: set[str] = set()


def load(spec: ChunkJobSpec, base: str) -> tuple[Callable[[Any], Any], Callable[[Any, Any], Any] | None]:
    """Return (what is called with an item or a chunk, the reducing function). LoadError has the original cause."""
    _loading.update(_loads(spec))
    try:
        return _load(spec, base)
    finally:
        _loading.clear()


def is_loading(spec: ChunkJobSpec) -> bool:
    """Return whether this process is loading what the job names: its workers would load it, too, and so on."""
    return not _loading.isdisjoint(_loads(spec))


def _loads(spec: ChunkJobSpec) -> list[str]:
    return [*names_of(spec), *([spec.process.source] if spec.process.source else [])]


def _load(spec: ChunkJobSpec, base: str) -> tuple[Callable[[Any], Any], Callable[[Any, Any], Any] | None]:
    if base not in sys.path:
        sys.path.insert(0, base)
    process = spec.process
    combine = None
    if process.source is not None:
        module = _source_module(process.source)
        function = getattr(module, entry_point(process.source, spec.reduce_name))
        if spec.reduce_name:
            combine = getattr(module, spec.reduce_name)
    elif process.class_ is not None:
        kind = _look_up(process.class_, base)
        function = _guarded(kind, f"{process.class_} can't be built")
    else:
        function = _look_up(process.function or "", base)
    if spec.reduce and not spec.reduce_name:
        combine = _look_up(spec.reduce.function, base)
    for what, thing in (("process", function), *([("reduce", combine)] if spec.reduce else [])):
        if not callable(thing):
            raise LoadError(
                f"{what}: a {type(thing).__name__} can't be called; name a function, or a class with __call__"
            )
    return function, _reducing(combine) if combine else None


def names_of(spec: ChunkJobSpec) -> list[str]:
    """Return what the manifest names as module:name."""
    names = [spec.process.function, spec.process.class_, spec.reduce.function if spec.reduce else None]
    return [name for name in names if name and ":" in name]


def _reducing(combine: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return `combine` with its errors told apart from those of anything else: no retry mends them."""

    def reduce(left: Any, right: Any) -> Any:
        try:
            return combine(left, right)
        except Exception as error:
            values = f"{str(left)[:100]} and {str(right)[:100]}"
            message = f"the reduce function raised {type(error).__name__}: {error} (for {values})"
            raise ReduceError(message) from error

    return reduce


def _source_module(text: str) -> types.ModuleType:
    module = types.ModuleType(SOURCE_MODULE)
    sys.modules[SOURCE_MODULE] = module
    code = _guarded(lambda: compile(text, "<process.source>", "exec"), "process.source")
    _guarded(lambda: exec(code, module.__dict__), "process.source can't be run")
    return module


def _look_up(reference: str, base: str) -> Any:
    name, _, path = reference.partition(":")
    hint = ""
    if name == "__main__":
        hint = "; what a script or notebook defines is not there in a worker: put it into a module"
    elif name.endswith(".py") or ".py." in name:
        hint = f"; name the module without .py, as {name.removesuffix('.py')}:{path}"
    thing = _guarded(
        lambda: importlib.import_module(name),
        f"module {name} can't be imported (looked in {base} and in Python's own path{hint})",
    )
    for part in path.split("."):
        try:
            thing = getattr(thing, part)
        except AttributeError:
            where = getattr(thing, "__file__", None) or getattr(sys.modules.get(name), "__file__", None)
            raise LoadError(f"module {name}{f' ({where})' if where else ''} has no {path}{hint}") from None
    return thing


def _guarded(call: Callable[[], Any], what: str) -> Any:
    try:
        return call()
    except BaseException as error:
        raise LoadError(f"{what}: {type(error).__name__}: {error}") from error
