"""What code a job has, module by module: what its processes have loaded, by digest. Two may not have one of two kinds.

Which modules they have may differ, by what a function finds where it runs. Counted are those of the packages that the
manifest names, by their names, wherever they lie; and those of the job's folder, and of folders on PYTHONPATH (as an
image has them), that nobody installed there, by their paths in it, as a program may give any name to a file. All are
files that end in .py.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType

from gristmill.api.chunkjob import ChunkJobSpec
from gristmill.errors import CodeChanged
from gristmill.protocol.job import JobContext
from gristmill.sinks import known_code
from gristmill.worker.user_code import SOURCE_MODULE, names_of

#: folders of what was installed, which may be below a job's own
_INSTALLED = frozenset(("site-packages", "dist-packages"))
#: Python's own modules, and ours
_OTHERS = frozenset((Path(sysconfig.get_path("stdlib")), Path(__file__).parents[1]))
#: more modules are not looked at
_MOST = 2000


class LoadedCode:
    """The digests, by module, of what this process loads of a job from now on, as it was when it was loaded."""

    def __init__(self, spec: ChunkJobSpec, base: str) -> None:
        #: all of it, and what was not told yet
        self._known: dict[str, str] = {}
        self._untold: dict[str, str] = {}
        self._named = {name.partition(":")[0].partition(".")[0] for name in names_of(spec)}
        self._folders = _own_folders(base)
        if spec.process.source is not None:
            self._add(SOURCE_MODULE, spec.process.source.encode())
        self._watch()

    def take(self) -> dict[str, str]:
        """Return what was loaded since the last call."""
        taken = {}
        while self._untold:
            name, digest = self._untold.popitem()
            taken[name] = digest
        return taken

    def _watch(self) -> None:
        """Look at each file just before it is run: later it may be another one.

        (Not around that: who is imported would see us as the importer, in what it warns of and in errors.)
        """
        get_code = SourceFileLoader.get_code

        def look_and_get_code(loader: SourceFileLoader, fullname: str) -> CodeType | None:
            with suppress(OSError):
                if name := self._name(fullname, Path(loader.path)):
                    self._add(name, Path(loader.path).read_bytes())
            return get_code(loader, fullname)

        SourceFileLoader.get_code = look_and_get_code  # type: ignore[assignment, method-assign]

    def _name(self, module: str, file: Path) -> str:
        # (a program may give that name to any file: those go by their paths)
        if module.partition(".")[0] in self._named and _file_of(module, self._folders) == file:
            return module
        if not _OTHERS.isdisjoint(file.parents) or _INSTALLED & {*file.parts}:
            return ""
        folder = next((one for one in self._folders if one in file.parents), None)
        return str(file.relative_to(folder)) if folder else ""

    def _add(self, name: str, content: bytes) -> None:
        digest = _digest(content)
        has_room = name in self._known or len(self._known) < _MOST
        if has_room and self._known.get(name) != digest:
            self._known[name] = self._untold[name] = digest


def other_module(known: Mapping[str, Container[str]], code: Mapping[str, str]) -> str:
    """Return a module of which `code` has another digest than those that are known; "" where there is none."""
    return next((name for name in sorted(code) if name in known and code[name] not in known[name]), "")


def check_code(context: JobContext, code: Mapping[str, str]) -> None:
    """Raise CodeChanged where the job's output was made with other code, which the job does not accept. OutputError."""
    if not context.accept_code and (other := other_module(known_code(context.output), code)):
        raise CodeChanged(change_told(context, other))


def change_told(context: JobContext, module: str) -> str:
    """Say what to do about a module that is another than the job has."""
    go_on = "run again with --accept-code (in Python accept_code=True)"
    if context.on_cluster:
        go_on = f"set acceptCode: true, and `gristmill retry {context.name}`"
    return (
        f"{in_words(module)} is not the one that the job has: bring that back, or {go_on}, "
        "which mixes results of both; or give it another output, to begin anew"
    )


def in_words(module: str) -> str:
    """Name a module for people."""
    if module == SOURCE_MODULE:
        return "process.source"
    return module if module.endswith(".py") else f"the module {module}"


def code_here(names: Iterable[str], spec: ChunkJobSpec, base: str) -> dict[str, str]:
    """Return the digests that modules of these names would have if they were loaded here; nothing is run."""
    found = {}
    folders = _own_folders(base)
    for name in names:
        if name == SOURCE_MODULE:
            found[name] = _digest((spec.process.source or "").encode())
        elif file := _file_of(name, folders):
            with suppress(OSError):
                found[name] = _digest(file.read_bytes())
    return found


def _file_of(module: str, folders: list[Path]) -> Path | None:
    if module.endswith(".py"):
        return next((file for folder in folders if (file := folder / module).is_file()), None)
    top, *below = module.split(".")
    found = _spec_of(top, str(folders[0]))
    if found is None:
        return None
    if not below:
        return Path(found.origin) if found.origin and found.has_location else None
    for folder in found.submodule_search_locations or ():
        path = Path(folder, *below)
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if file.is_file():
                return file
    return None


def _own_folders(base: str) -> list[Path]:
    """Return the folders of which all modules count: those of packages that were installed are none."""
    said = os.environ.get("PYTHONPATH")
    # (as Python reads it: an empty part is the current folder, and so is where a path starts that is relative)
    added = [Path(folder).absolute() for folder in said.split(os.pathsep)] if said else []
    folders = [Path(base), *(folder for folder in added if not any(folder.glob("*.dist-info")))]
    return [one for folder in folders for one in (folder, folder.resolve())]  # (a file is found by either)


def _spec_of(top: str, base: str) -> ModuleSpec | None:
    """Find a module as a worker would, which has the job's folder before all others, unless it is among them."""
    if found := PathFinder.find_spec(top, sys.path if base in sys.path else [base, *sys.path]):
        return found
    try:  # (packages that are installed to be edited have finders of their own)
        return importlib.util.find_spec(top)
    except (ValueError, ImportError):  # (it was made by a program, and is no file)
        return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
