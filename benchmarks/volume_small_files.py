"""Many small files in a content store: one object each, and a listing that reads none of them."""

from __future__ import annotations

from benchmarks.harness import Options, Side, alternate
from benchmarks.rows import Row

NAME = "volume-small-files"
SUMMARY = "100,000 files of 1 KiB in ten folders: written (synced, 16 at once), listed, read, verified"


def run(options: Options) -> list[Row]:
    """Measure a folder of this machine."""
    files = options.pick(100_000, 5_000)
    (series,) = alternate(NAME, [Side("a folder", "storing:small", {"files": files, "folders": 10})], options)
    if series.problem:
        return [Row(NAME, "gristmill", "files/s", problem=series.problem)]
    rows = []
    for deed in series.rounds[0]:
        share = files / 10 if deed == "list a folder" else files
        rows.append(Row.of(NAME, deed, "files/s", [share / seconds for seconds in series[deed]]))
    return rows
