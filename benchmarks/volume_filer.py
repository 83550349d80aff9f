"""A content store over a SeaweedFS: beside curl on its filer, SeaweedFS's own benchmark, and s3fs on its gateway."""

from __future__ import annotations

from statistics import median

from benchmarks.harness import Options, Side, alternate
from benchmarks.rows import Row

NAME = "volume-filer"
SUMMARY = (
    "over a SeaweedFS of one server: a file of 1 GiB put over the slower of hash and copy, read verified over curl; "
    "20,000 files of 1 KiB, 16 at once"
)


def run(options: Options) -> list[Row]:
    """Compare within each round."""
    return [*_large(options), *_small(options)]


def _large(options: Options) -> list[Row]:
    side = Side("a filer", "storing_filer:large", {"mebibytes": options.pick(1024, 128)})
    (series,) = alternate(NAME, [side], options)
    if series.problem:
        return [Row(NAME, "put", "s", problem=series.problem, target=1.1, at_most=True)]
    slower = [max(one["hash"], one["copy"]) for one in series.rounds]
    writing = [put / other for put, other in zip(series["put"], slower, strict=True)]
    reading = [one["read"] / one["read verified"] for one in series.rounds]
    return [
        Row.of(NAME, "hash with sha256", "s", series["hash"]),
        Row.of(NAME, "copy with curl", "s", series["copy"]),
        Row.of(NAME, "put", "s", series["put"]).against(median(writing), target=1.1, at_most=True),
        Row.of(NAME, "read with curl", "s", series["read"]),
        Row.of(NAME, "read verified", "s", series["read verified"]).against(median(reading), target=0.7),
    ]


def _small(options: Options) -> list[Row]:
    files = {"files": options.pick(20_000, 2_000)}
    peers = [
        (Side("weed benchmark", "storing_filer:own_benchmark", files), 0.2),
        (Side("s3fs on its gateway", "storing_filer:s3fs_small", files), 3.0),
    ]
    own, *others = alternate(
        NAME, [Side("gristmill", "storing_filer:small", files), *(side for side, _ in peers)], options
    )
    rows = []
    for deed in ("write", "read"):
        if own.problem:
            rows.append(Row(NAME, f"gristmill, {deed}", "files/s", problem=own.problem))
            continue
        rows.append(Row.of(NAME, f"gristmill, {deed}", "files/s", own[deed]))
        for (side, target), series in zip(peers, others, strict=True):
            if series.problem:
                rows.append(
                    Row(NAME, f"{side.variant}, {deed}", "files/s", problem=series.problem, target=target)
                )
                continue
            ratios = [mine / theirs for mine, theirs in zip(own[deed], series[deed], strict=True)]
            row = Row.of(NAME, f"{side.variant}, {deed}", "files/s", series[deed])
            rows.append(row.against(median(ratios), target=target))
    return rows
