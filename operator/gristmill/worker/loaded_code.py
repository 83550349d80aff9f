"""What code a process has loaded, module by module: two processes of a job may not have one module of two kinds.

Which modules they have may differ, by what a function finds where it runs.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Container
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import ModuleType

from gristmill.api.chunkjob import ChunkJobSpec
from gristmill.worker.user_code import names_of

#: folders of what was installed, which may be below a job's own
_INSTALLED = frozenset(("site-packages", "dist-packages"))
#: more modules are not looked at
_MOST = 2000


def loaded_code(spec: ChunkJobSpec, base: str, before: Container[str]) -> dict[str, str]:
    """Return digests by name of modules (files that end in .py) that were not loaded `before`.

    They are those of the packages that the manifest names, and those below `base` that nobody installed there.
    """
    named = {name.partition(":")[0].partition(".")[0] for name in names_of(spec)}
    found = {}
    for name, module in sorted(sys.modules.items()):
        if name in before or not isinstance(module, ModuleType):
            continue
        # (without `getattr`: a module may load itself when it is asked)
        file = object.__getattribute__(module, "__dict__").get("__file__")
        if not isinstance(file, str) or not file.endswith(".py"):
            continue
        if name.partition(".")[0] in named or _is_own(Path(file), base):
            with suppress(OSError):  # (it may be in an archive, or gone)
                found[name] = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:32]
    return dict(islice(found.items(), _MOST))


def _is_own(file: Path, base: str) -> bool:
    return Path(base) in file.parents and not _INSTALLED & {*file.parts}
