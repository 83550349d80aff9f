"""`python -m benchmarks.cluster [NAME ...] [--rounds N] [--quick]`: rows on stdout, progress on stderr."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import gristmill
from benchmarks.cluster.jobs import CLAIM, chunk_job, plain_job
from benchmarks.cluster.kubectl import (
    NAMESPACE,
    applied,
    kubectl,
    metrics_of_operator,
    namespace,
    requests_at_api_server,
    seconds_to_complete,
    until_complete,
    worker_image,
)
from benchmarks.coordination.table import on_cluster as table_of_coordination
from benchmarks.harness import Options, tell
from benchmarks.rows import Row, machine, table

_RESIDENT, _CPU = "process_resident_memory_bytes", "process_cpu_seconds_total"


def two_workers(rounds: int, quick: bool) -> list[Row]:
    """A job of two workers that do nothing, applied to complete, beside a Job of two pods of the same image."""
    image = worker_image()
    sides: dict[str, Callable[[], float]] = {
        "gristmill": lambda: seconds_to_complete("chunkjob", "Complete", chunk_job("two", 2)),
        "Job of 2 pods": lambda: seconds_to_complete("job", "Complete", plain_job("two", image, 2, 2)),
    }
    return _compared("two-workers", sides, rounds, at_most=1.3)


def hundred_chunks(rounds: int, quick: bool) -> list[Row]:
    """A hundred chunks that do nothing, beside an Indexed Job of 100 completions, 20 at a time."""
    image = worker_image()
    peer = "Indexed Job, 100 completions, 20 at a time"
    sides: dict[str, Callable[[], float]] = {
        "gristmill": lambda: seconds_to_complete("chunkjob", "Complete", chunk_job("hundred", 100)),
        peer: lambda: seconds_to_complete("job", "Complete", plain_job("hundred", image, 100, 20, True)),
    }
    return _compared("hundred-chunks", sides, rounds, at_least=10)


def one_item_chunks(rounds: int, quick: bool) -> list[Row]:
    """Chunks of one item in a second, from planned to complete, beside the local runner; both write their output."""
    chunks = 20_000 if quick else 5_000_000
    applied(CLAIM)

    def there(number: int) -> float:
        name = f"one-{number}"
        applied(chunk_job(name, chunks, output=f"/data/{name}"))
        until_complete("chunkjob", [name], "Complete")
        status = _status(name)
        kubectl("delete", "chunkjob", name)
        return chunks / _working_seconds(status)

    def here(number: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            job = chunk_job("one", chunks)
            job["spec"]["output"] = {"url": str(Path(folder) / "output")}
            return chunks / _working_seconds(
                gristmill.run(job, workers=2, state=Path(folder) / "state").wait()
            )

    measured: dict[str, list[float]] = {"gristmill on the cluster": [], "gristmill run, 2 workers": []}
    for number in range(rounds):
        for (variant, values), side in zip(measured.items(), (there, here), strict=True):
            values.append(side(number))
            tell(f"one-item-chunks: {variant}, round {number + 1}: {values[-1]:,.0f}/s")
    ours, local = measured.values()
    return [
        Row.of("one-item-chunks", "gristmill on the cluster", "items/s", ours),
        Row.of(
            "one-item-chunks",
            "gristmill run, 2 workers",
            "items/s",
            local,
            ratio=median(ours) / median(local),
            target=0.8,
        ),
    ]


def api_writes(rounds: int, quick: bool) -> list[Row]:
    """What the operator writes to the API for a job of a million chunks of two workers, status writes apart."""
    chunks = 20_000 if quick else 1_000_000
    workers = 2
    applied(CLAIM)
    before, told = requests_at_api_server(), metrics_of_operator()
    applied(chunk_job("million", chunks, workers, output="/data/million"))
    until_complete("chunkjob", ["million"], "Complete")
    time.sleep(6)  # (until the workers are scaled to zero)
    after, said = requests_at_api_server(), metrics_of_operator()
    kubectl("delete", "chunkjob", "million")

    def counted(*resources: str, sub: str = "") -> float:
        return sum(
            count - before.get(key, 0)
            for key, count in after.items()
            if key[1] in resources and key[2] == sub
        )

    own = "gristmill_api_writes_total"
    writes = sum(
        said[name] - told.get(name, 0) for name in said if name.startswith(own) and "status" not in name
    )
    return [
        # (one of them is `kubectl apply`, and the Job controller writes no more than the status of Jobs)
        Row.of(
            "api-writes",
            "chunkjobs, jobs and secrets, at the API server",
            "writes",
            [counted("chunkjobs", "jobs", "secrets")],
        ),
        Row.of(
            "api-writes",
            "status of chunkjobs, at the API server",
            "writes",
            [counted("chunkjobs", sub="status")],
        ),
        Row.of("api-writes", "all but status, as the operator says", "writes", [writes]).against(
            writes, target=20 + 4 * workers, at_most=True
        ),
    ]


def many_jobs(rounds: int, quick: bool) -> list[Row]:
    """Small jobs applied at once, beside as many plain Jobs."""
    number = 20 if quick else 200
    image = worker_image()
    ours = [chunk_job(f"small-{n}", 2, 1) for n in range(number)]
    theirs = [plain_job(f"small-{n}", image, 1, 1) for n in range(number)]
    sides: dict[str, Callable[[], float]] = {
        f"gristmill, {number} jobs": lambda: seconds_to_complete("chunkjob", "Complete", *ours),
        f"{number} Jobs of one pod": lambda: seconds_to_complete("job", "Complete", *theirs),
    }
    return _compared("many-jobs", sides, 1)


def many_resources(rounds: int, quick: bool) -> list[Row]:
    """The operator's memory, and its processor time a minute, with suspended ChunkJobs that wait."""
    rows = []
    there = 0
    for number in (10, 40) if quick else (50, 500):
        waiting = [chunk_job(f"wait-{n}", 2, suspend=True) for n in range(there, number)]
        applied(*waiting)
        there = number
        deadline = time.monotonic() + 300
        path = "jsonpath={.items[*].status.state}"
        while kubectl("get", "chunkjobs", "-o", path).split().count("Suspended") < number:
            if time.monotonic() > deadline:
                raise RuntimeError("they do not get suspended")
            time.sleep(1)
        time.sleep(5)
        before = metrics_of_operator()
        time.sleep(30)
        after = metrics_of_operator()
        cpu = (after[_CPU] - before[_CPU]) * 2
        rows.append(
            Row.of("many-resources", f"{number} ChunkJobs, memory", "MiB", [after[_RESIDENT] / 2**20])
        )
        rows.append(Row.of("many-resources", f"{number} ChunkJobs, processor time a minute", "s", [cpu]))
    return rows


def coordination(rounds: int, quick: bool) -> list[Row]:
    """Locks and trees, beside bare calls of the API server."""
    return table_of_coordination(NAMESPACE, Options(rounds, quick))


BENCHMARKS = {
    function.__name__.replace("_", "-"): function
    for function in (
        two_workers,
        hundred_chunks,
        one_item_chunks,
        api_writes,
        many_jobs,
        many_resources,
        coordination,
    )
}


def main() -> int:
    """Run what was asked for; exit code 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all, if none is named"
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each side runs (5)")
    parser.add_argument("--quick", action="store_true", help="small sizes: to try it, not to quote it")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name}")
    line = machine()
    rows: list[Row] = []
    for name in arguments.names or BENCHMARKS:
        with namespace():
            rows += BENCHMARKS[name](arguments.rounds, arguments.quick)
    print(f"{line}; medians of {arguments.rounds}\n\n{table(rows)}")
    return 1 if any(row.met is False for row in rows) else 0


def _compared(
    name: str,
    sides: dict[str, Callable[[], float]],
    rounds: int,
    at_most: float | None = None,
    at_least: float | None = None,
) -> list[Row]:
    """Measure the seconds of two sides in turns: ours first, and by how much the other's were longer or shorter."""
    measured: dict[str, list[float]] = {variant: [] for variant in sides}
    for number in range(rounds):
        for variant, side in sides.items():
            measured[variant].append(side())
            tell(f"{name}: {variant}, round {number + 1} of {rounds}: {measured[variant][-1]:.2f} s")
    (ours, values), (peer, others) = measured.items()
    first = Row.of(name, ours, "s", values)
    ratio = median(values) / median(others)
    if at_most is not None:
        first = first.against(ratio, target=at_most, at_most=True)
        return [first, Row.of(name, peer, "s", others)]
    return [first, Row.of(name, peer, "s", others, ratio=1 / ratio, target=at_least)]


def _status(name: str) -> dict[str, Any]:
    import json

    return dict(json.loads(kubectl("get", "chunkjob", name, "-o", "json"))["status"])


def _working_seconds(status: dict[str, Any]) -> float:
    """Return the seconds from planned to complete."""
    at = {
        condition["type"]: datetime.fromisoformat(condition["lastTransitionTime"]).timestamp()
        for condition in status["conditions"]
    }
    return at["Complete"] - at["Planned"]


if __name__ == "__main__":
    sys.exit(main())
