"""Where the command begins: before the command line's own imports, which take a while, `run` starts its keeper."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line. A keeper that turns out not to be needed is ended by `spawn`."""
    if sys.argv[1:2] == ["run"] and not {"-h", "--help"} & set(sys.argv):
        from gristmill.local.spawn import start_ahead

        start_ahead()
    from gristmill.cli.main import main as command_line

    command_line()
