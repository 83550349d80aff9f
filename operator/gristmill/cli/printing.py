"""`gristmill results` and `gristmill logs`: lines for other programs, and for people."""

from __future__ import annotations

import sys
import time

import orjson

from gristmill.cli.places import Where, choose
from gristmill.cli.text import write_bytes


def print_results(name: str | None, where: Where, *, take: bool) -> None:
    """Print the results as JSON lines, in input order."""
    for results in choose(name, where).results(take=take):
        # (what was handed out may be dropped where it was, next)
        write_bytes(b"".join(orjson.dumps(result) + b"\n" for result in results))


def print_logs(name: str | None, where: Where, chunk: int | None, *, follow: bool, as_json: bool) -> None:
    """Print what the user's code printed, oldest first; go on while the run does if it shall be followed."""
    place = choose(name, where)
    reader = place.printed()
    while True:
        live = follow and place.is_live()
        for record in reader.records():
            if chunk is None or record["chunk"] == chunk:
                line = orjson.dumps(record).decode() if as_json else f"{record['chunk']:>8}  {record['text']}"
                sys.stdout.write(line + "\n")
        sys.stdout.flush()
        if not live:
            return
        time.sleep(reader.pause)
