"""Where the command begins: before the command line's own imports, which take a while, `run` starts its keeper."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from gristmill.errors import GristmillError


def main() -> NoReturn:
    """Run the command line. A keeper that turns out not to be needed is ended by `spawn`."""
    _open_what_is_closed()
    # (where who has started this ignores it, and so this, the kernel throws the exit codes of what this starts away)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if sys.argv[1:2] == ["run"] and not {"-h", "--help"} & set(sys.argv):
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `run_job`: imports don't stand an exception
        with suppress(GristmillError):  # (the command line tells it)
            import gristmill.settings  # noqa: F401
            from gristmill.local.spawn import start_ahead

            start_ahead()
    from gristmill.cli.main import main as command_line

    command_line()


def _open_what_is_closed() -> None:
    """Have the standard descriptors go somewhere: where they are closed, files would get the numbers 0 to 2."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
