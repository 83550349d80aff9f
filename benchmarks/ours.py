"""Gristmill's side: the manifests, and what is measured of their runs."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

import gristmill
import gristmill.local.runner  # (loaded late otherwise, and the peers' modules are there before the clock starts)
from benchmarks import corpus, functions, processes
from benchmarks.gather import gather_in_order


def manifest(input_: Mapping[str, Any], chunks: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """Return a ChunkJob; without `process` it does nothing to each item."""
    return {
        "apiVersion": "gristmill.dev/v1alpha1",
        "kind": "ChunkJob",
        "metadata": {"name": "benchmark"},
        "spec": {
            "input": dict(input_),
            "chunks": dict(chunks),
            "process": {"function": "benchmarks.functions:identity"},
            **spec,
        },
    }


def map_range(items: int, size: int) -> dict[str, float]:
    """Map over a range in chunks of `size`; the results are gathered in order while it runs."""
    started = time.perf_counter()
    run = gristmill.run(manifest({"range": {"stop": items}}, {"size": size}), workers=2)
    return gather_in_order(run.results(), items, started)


def word_count(folder: str, count: int = 2) -> dict[str, float]:
    """Count words in `count` chunks: dictionaries travel slowly, as with a Pool. Also tell where the time went."""
    began, started = time.time(), time.perf_counter()
    job = manifest(
        {"lines": {"url": str(Path(folder) / "text-*.txt")}},
        {"count": count},
        process={"function": "benchmarks.functions:count_words", "each": "chunk"},
        reduce={"function": "benchmarks.functions:add_counts"},
    )
    run = gristmill.run(job, workers=2)
    (result,) = run.results()
    seconds = time.perf_counter() - started
    corpus.check(result, folder)
    planned, complete = (_transition(run.status, name) - began for name in ("Planned", "Complete"))
    return {
        "seconds": seconds,
        "until planned": planned,
        "from planned to complete": complete - planned,
        "from complete to the result": seconds - complete,
    }


def combine(folder: str) -> dict[str, float]:
    """Do alone what is left when both chunks are counted: two dictionaries as JSON become one, and that is read."""
    counts: Counter[bytes] = Counter()
    for path in corpus.files(folder)[:1]:  # (each file has nearly all words)
        functions.tally(Path(path).read_bytes(), counts)
    written = orjson.dumps(functions.decode_keys(counts))
    started = time.perf_counter()
    combined = orjson.dumps(functions.add_counts(orjson.loads(written), orjson.loads(written)))
    orjson.loads(combined)
    return {"seconds": time.perf_counter() - started}


def spin(seconds: int, lease: int, kill: bool = False) -> dict[str, float]:
    """Run functions of a millisecond that take two workers `seconds` at best.

    `kill`: one of the two is killed halfway: its supervisor, as when a node is lost, without a goodbye.
    """
    items = seconds * 2 * round(1 / functions.SPIN_SECONDS)
    job = manifest(
        {"range": {"stop": items}},
        {"size": 1},
        process={"function": "benchmarks.functions:spin"},
        workers={"leaseSeconds": lease},
    )
    started = time.perf_counter()
    run = gristmill.run(job, workers=2)
    if kill:
        threading.Timer(seconds / 2, _kill_a_supervisor).start()
    gather_in_order(run.results(), items, started)
    return {"seconds": time.perf_counter() - started}


def first_commit(chunks: int, durability: str) -> dict[str, float]:
    """Start a job of so many chunks; return the seconds to its first commit, and the queue's MiB then."""
    with tempfile.TemporaryDirectory() as folder:
        job = manifest({"range": {"stop": chunks}}, {"size": 1}, durability=durability)
        started = time.perf_counter()
        with gristmill.run(job, workers=2, state=folder) as run:
            while not run.status["chunks"]["succeeded"]:
                time.sleep(0.001)
            seconds = time.perf_counter() - started
            return {"seconds": seconds, "memory": _queue_bytes(Path(folder)) / 2**20}


def _transition(status: Mapping[str, Any], name: str) -> float:
    """Return when a condition became true, in unix seconds."""
    (found,) = [condition for condition in status["conditions"] if condition["type"] == name]
    return datetime.fromisoformat(found["lastTransitionTime"]).timestamp()


def _kill_a_supervisor() -> None:
    found = processes.by_role(os.environ[processes.MARK], without=os.getpid())
    os.kill(found["supervisor"][0].pid, signal.SIGKILL)


def _queue_bytes(state: Path) -> int:
    """Ask the server of a state folder what it has allocated."""
    from gristmill.local.server import server_url
    from gristmill.protocol.client import connect

    with connect(server_url(state / "queue")) as queue:
        return int(queue.info("memory")["used_memory"])
