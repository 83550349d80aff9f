"""One large file in a content store: what hashing costs a write, and what verifying costs a read."""

from __future__ import annotations

from statistics import median

from benchmarks.harness import Options, Side, alternate
from benchmarks.rows import Row

NAME = "volume-files"
SUMMARY = (
    "a file of 1 GiB: put over the slower of hash and copy; a verified read over a plain one, from memory"
)


def run(options: Options) -> list[Row]:
    """Compare within each round: a disk that others use, too, is as slow for both."""
    side = Side("a folder", "storing:large", {"mebibytes": options.pick(1024, 128)})
    (series,) = alternate(NAME, [side], options)
    if series.problem:
        return [Row(NAME, "gristmill", "s", problem=series.problem, target=1.1, at_most=True)]
    slower = [max(one["hash"], one["copy"]) for one in series.rounds]
    writing = [put / other for put, other in zip(series["put"], slower, strict=True)]
    reading = [one["read"] / one["read verified"] for one in series.rounds]
    return [
        Row.of(NAME, "hash with sha256", "s", series["hash"]),
        Row.of(NAME, "copy, synced", "s", series["copy"]),
        Row.of(NAME, "put", "s", series["put"]).against(median(writing), target=1.1, at_most=True),
        Row.of(NAME, "read", "s", series["read"]),
        Row.of(NAME, "read verified", "s", series["read verified"]).against(median(reading), target=0.5),
    ]
