"""The user's function or class: found, loaded, named by a digest. The only place that imports what a user wrote."""

from __future__ import annotations

import hashlib
import importlib
import sys
import types
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from gristmill.api.chunkjob import ChunkJobSpec
from gristmill.api.source import entry_point
from gristmill.errors import LoadError, ReduceError

#: the name of the module that `process.source` becomes
SOURCE_MODULE = "gristmill_job_source"
#: what this process loads now: names, and a source
_loading: set[str] = set()
#: more files than this in a package are not looked at for the code version
_MOST_FILES = 2000


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


def code_version(spec: ChunkJobSpec, base: str) -> str:
    """Return a digest (hex) of the code that the manifest names, without running it: a module or its package."""
    digest = hashlib.sha256((spec.process.source or "").encode())
    for name in names_of(spec):
        digest.update(name.encode())
        for file in _files_of(name.partition(":")[0], base):
            digest.update(file.read_bytes())
    return digest.hexdigest()


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


def _files_of(module: str, base: str) -> list[Path]:
    """Return the files of a module: of its whole package where that is below `base`, else those that lead to it."""
    top, *below = module.split(".")
    found = PathFinder.find_spec(top, [base, *sys.path])
    if found is None:
        return []
    folders = [Path(folder) for folder in found.submodule_search_locations or ()]
    if own := [folder for folder in folders if Path(base) in folder.parents]:
        return sorted(file for folder in own for file in folder.rglob("*.py") if file.is_file())[:_MOST_FILES]
    files = [Path(found.origin)] if found.origin else []
    for name in below:
        files += [folder / f"{name}.py" for folder in folders] + [
            folder / name / "__init__.py" for folder in folders
        ]
        folders = [folder / name for folder in folders]
    return [file for file in files if file.suffix == ".py" and file.is_file()]


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
