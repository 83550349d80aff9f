"""`gristmill validate`: what is wrong with manifests, one line a fault."""

from __future__ import annotations

import sys
from pathlib import Path

from gristmill.api.manifest import load_resource
from gristmill.cli.text import print_json
from gristmill.errors import ManifestError


def check_files(files: list[Path], *, as_json: bool) -> int:
    """Check manifests and return the exit code: 2 when one is wrong."""
    code = 0
    for file in files:
        problems: list[str] = []
        try:
            load_resource(file)
        except ManifestError as error:
            problems = error.problems
            code = error.exit_code
        if as_json:
            print_json({"file": str(file), "problems": problems})
        elif problems:
            for problem in problems:
                print(f"{file}: error: {problem}", file=sys.stderr)
        else:
            print(f"{file}: ok")
    return code
