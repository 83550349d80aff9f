"""Numbers and statuses in words, short enough for a narrow terminal."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import orjson

from gristmill.client.status import failure_of


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print_text(orjson.dumps(value).decode() + "\n")


def print_text(text: str) -> None:
    """Print text that is for programs, too: as UTF-8, whatever people's terminals have."""
    write_bytes(text.encode())


def write_bytes(data: bytes | bytearray | memoryview) -> None:
    """Write to standard output, all of it: with PYTHONUNBUFFERED one call may write a part of it, or nothing."""
    sys.stdout.flush()
    rest = memoryview(data)
    while rest:
        written: int | None = sys.stdout.buffer.write(rest)
        if written is None:
            raise BlockingIOError(errno.EAGAIN, "standard output takes nothing now")
        rest = rest[written:]
    sys.stdout.buffer.flush()


def duration(seconds: float) -> str:
    """Return a time as people say it: 0.8 s, 12 s, 2 min 5 s, 3 h 20 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} days"


def rate(per_second: float) -> str:
    """Return a rate with as many digits as mean something."""
    if per_second >= 100 or per_second == 0:
        return f"{per_second:,.0f}/s"
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{per_second * 60:.1f}/min"


def size(number: float) -> str:
    """Return bytes as people say them: 812 bytes, 12.3 kB, 4.0 GB."""
    if number < 1000:
        return f"{number:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 999.95:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:,.1f} TB"


def count(number: int, noun: str) -> str:
    """Return a number with its noun: 1 worker, 2 workers."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def progress(status: dict[str, Any]) -> str:
    """Return how far a run is: done and total, or that it is being planned."""
    chunks = status["chunks"]
    if chunks["total"] is None:
        return "planning"
    return f"{chunks['succeeded'] + chunks['failed']:,}/{chunks['total']:,} chunks"


def details(status: dict[str, Any]) -> list[str]:
    """Return what else is worth a word about a run that goes on."""
    words = []
    if status["ratePerSecond"] is not None:
        words.append(rate(status["ratePerSecond"]))
    if status["etaSeconds"]:
        words.append(f"{duration(status['etaSeconds'])} left")
    words.append(count(status["workers"], "worker"))
    if status["items"]["failed"]:
        words.append(f"{status['items']['failed']:,} failed")
    if status["chunks"]["retried"]:
        words.append(f"{status['chunks']['retried']:,} retried")
    if status["state"] != "Running":
        words.append(status["state"].lower())
    return words


def paragraph(status: dict[str, Any]) -> list[str]:
    """Return a status as lines for people."""
    chunks, items = status["chunks"], status["items"]
    lines = [f"{status['name']}: {status['state']}"]
    lines += [
        f"  {c['type']}: {c['reason']}{': ' if c['message'] else ''}{c['message']}"
        for c in status["conditions"]
        if (c["type"] in ("Complete", "Failed", "Suspended", "SpecChanged") and c["status"] == "True")
        or (c["type"] == "Progressing" and c["status"] == "False" and c["message"])
    ]
    lines.append(f"  chunks    {progress(status).removesuffix(' chunks')}, {_counts(chunks)}")
    total = "" if items["total"] is None else f"/{items['total']:,}"
    lines.append(f"  items     {items['succeeded']:,}{total}, {items['failed']:,} failed")
    if status["ratePerSecond"] is not None:
        left = f", {duration(status['etaSeconds'])} left" if status["etaSeconds"] else ""
        lines.append(f"  rate      {rate(status['ratePerSecond'])}{left}")
    lines.append(f"  workers   {status['workers']}")
    times = f"{status['startTime'] or ''}" + (
        f" to {status['completionTime']}" if status["completionTime"] else ""
    )
    lines.append(f"  time      {times}")
    for label, field in (("output", "output"), ("digest", "outputDigest")):
        if status[field]:
            lines.append(f"  {label:<9} {status[field]}")
    return lines


def outcome(status: dict[str, Any], *, is_reduction: bool) -> str:
    """Return how a run has ended."""
    if status["state"] == "Failed":
        reason, message = failure_of(status)
        return f"{status['name']}: failed, {reason}: {message}"
    done = count(status["chunks"]["total"], "chunk")
    if not is_reduction:
        done = f"{count(status['items']['succeeded'], 'result')} of {done}"
    speed = f", {rate(status['ratePerSecond'])}" if status["ratePerSecond"] else ""
    begin, end = (datetime.fromisoformat(status[name]) for name in ("startTime", "completionTime"))
    return f"{status['name']}: complete, {done} in {duration((end - begin).total_seconds())}{speed}"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return lines with the cells of each column below one another."""
    lines = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def _counts(chunks: dict[str, Any]) -> str:
    return f"{chunks['running']:,} running, {chunks['failed']:,} failed, {chunks['retried']:,} retried"
