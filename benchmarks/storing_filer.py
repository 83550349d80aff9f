"""What is measured of a content store over a SeaweedFS: called by `volume_filer`, by name."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.seaweed import Seaweed, s3_gateway, seaweed, weed
from gristmill.volumes.filer.entries import file_path
from gristmill.volumes.filer.tokens import Tokens
from gristmill.volumes.names import content_key
from gristmill.volumes.parallel import THREADS, in_parallel

_MIB = 1 << 20
_ROOT = Path(__file__).resolve().parent.parent
#: a Python that has s3fs, which does not go together with what else is measured
_S3_PYTHON = os.environ.get("GRISTMILL_BENCH_S3_PYTHON") or str(_ROOT / ".venv-s3/bin/python")


def large(mebibytes: int) -> dict[str, float]:
    """Return the seconds of hashing, copying with curl and putting a file; of reading it with curl, and verified."""
    with _folder() as folder, seaweed(folder) as place:
        source = folder / "source"
        with source.open("wb") as file:
            for _ in range(mebibytes):
                file.write(os.urandom(_MIB))
        store = place.store()
        store.save("warm", b"x" * 5000)
        numbers = {
            "hash": _seconds(lambda: _hash(source)),
            "copy": _seconds(lambda: _curl(place, "/copy", "-T", str(source))),
            "put": _seconds(lambda: store.save("file", source)),
        }
        content = file_path("/volume", content_key(store.stat("file").sha256))
        _curl(place, content)
        return {
            **numbers,
            "read": _seconds(lambda: _curl(place, content)),
            "read verified": _seconds(lambda: _drain(store.read_blocks("file"))),
        }


def small(files: int) -> dict[str, float]:
    """Return the files of a kibibyte that are written and read in a second, 16 at once."""
    with _folder() as folder, seaweed(folder) as place:
        store = place.store()
        content = os.urandom(1024 - 8)
        names = [f"{number % 10:03}/{number:06}" for number in range(files)]

        def write(name: str) -> None:
            store.save(name, content + name.encode()[-8:])

        def read(name: str) -> None:
            with store.open(name) as file:
                file.read()

        in_parallel(write, [f"warm/{number}" for number in range(100)])
        return {
            "write": files / _seconds(lambda: in_parallel(write, names)),
            "read": files / _seconds(lambda: in_parallel(read, names)),
        }


def own_benchmark(files: int) -> dict[str, float]:
    """Return the same as SeaweedFS's own benchmark tells it, of chunks without names."""
    with _folder() as folder, seaweed(folder, with_key=False) as place:
        words = [
            weed(),
            "benchmark",
            "-master",
            place.master,
            "-c",
            str(THREADS),
            "-n",
            str(files),
            "-size",
            "1024",
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=folder)
    write, read = re.findall(r"Requests per second:\s+([\d.]+)", done.stdout)
    return {"write": float(write), "read": float(read)}


def s3fs_small(files: int) -> dict[str, float]:
    """Return the same of s3fs over SeaweedFS's own S3 gateway."""
    if not Path(_S3_PYTHON).exists():
        raise RuntimeError(
            "there is no Python with s3fs: make .venv-s3/made, or name one in GRISTMILL_BENCH_S3_PYTHON"
        )
    with _folder() as folder, s3_gateway(folder) as url:
        words = [_S3_PYTHON, str(_ROOT / "benchmarks/peers/s3fs_small.py"), url, str(files), str(THREADS)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    write, read = done.stdout.split()
    return {"write": float(write), "read": float(read)}


def _curl(place: Seaweed, path: str, *words: str) -> None:
    token = f"Authorization: BEARER {Tokens(place.key).token()}"
    command = ["curl", "-sf", "-o", "/dev/null", "-H", token, *words, f"{place.filer}{path}"]
    subprocess.run(command, check=True)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gm-", dir=os.environ.get("GRISTMILL_BENCH_FOLDER")))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _seconds(deed: Callable[[], object]) -> float:
    begin = time.perf_counter()
    deed()
    return time.perf_counter() - begin


def _hash(source: Path) -> None:
    with source.open("rb") as file:
        hashlib.file_digest(file, "sha256")


def _drain(pieces: Iterator[object]) -> None:
    for _ in pieces:
        pass
