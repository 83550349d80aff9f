"""The function library of the queue, put together from `lua/*.lua`.

Its name has a version: a change of the protocol that old workers would not understand gets a new one, and
both live side by side on a server until the old jobs are done.
"""

from __future__ import annotations

from importlib.resources import files

NAME = "gristmill_1"

#: in the order in which they need one another
PARTS = (
    "clock",
    "base",
    "ledger",
    "grant",
    "report",
    "chores",
    "membership",
    "control",
    "collect",
    "inspect",
)


def library(clock: str | None = None) -> str:
    """Return the library's text; `clock` replaces `clock.lua`, so that tests can inject the time."""
    folder = files("gristmill.protocol") / "lua"
    texts = [
        clock if clock and part == "clock" else (folder / f"{part}.lua").read_text(encoding="utf-8")
        for part in PARTS
    ]
    return f"#!lua name={NAME}\n" + "\n".join(texts)
