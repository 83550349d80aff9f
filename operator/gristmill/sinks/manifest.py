"""The manifest: what readers trust, and the outputDigest that is the same whatever died on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import orjson

from gristmill.errors import OutputError
from gristmill.sinks import layout
from gristmill.sinks.drafts import told
from gristmill.sinks.encoding import decode_value, iter_batches
from gristmill.sinks.sidecars import Sidecar
from gristmill.sinks.store import Store, open_store

_FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """A final file (or a block's files, named by first and last chunk), and the dead (chunk, item) in it."""

    name: str
    size: int
    sha256: str
    items: int
    dead: list[tuple[int, int]]


@dataclass(frozen=True)
class Manifest:
    """A complete job. `kind`: jsonl, files or value (a reduction); `blocks`: number of final blocks."""

    plan: str
    kind: str
    blocks: int
    items: int
    size: int
    files: int
    dead: int
    entries: list[Entry]
    digest: str

    def to_json(self) -> bytes:
        """Return the file's content."""
        return orjson.dumps({"format": _FORMAT, **asdict(self)}, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read what `to_json` wrote."""
        told = orjson.loads(data)
        if told.pop("format") != _FORMAT:
            raise ValueError("it has a format that this version does not know")
        entries = [
            Entry(**e | {"dead": [(chunk, item) for chunk, item in e["dead"]]}) for e in told["entries"]
        ]
        return cls(**told | {"entries": entries})


def output_digest(entries: list[Entry]) -> str:
    """Return the sha256 of all that readers can see: nothing of when, where or by whom it was written."""
    rows = [[e.name, e.size, e.sha256, e.items, e.dead] for e in entries]
    return hashlib.sha256(orjson.dumps(rows)).hexdigest()


def read_manifest(url: str) -> Manifest | None:
    """Return the manifest of an output folder, or None. OutputError when it can't be read."""
    return manifest_in(open_store(url))


def manifest_in(store: Store) -> Manifest | None:
    """Return a store's manifest; see `read_manifest`."""
    data = store.read(layout.MANIFEST)
    if data is None:
        return None
    try:
        return Manifest.from_json(data)
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{store.url}/{layout.MANIFEST} is not a manifest: {error}") from error


def is_intact(url: str, manifest: Manifest) -> bool:
    """Whether all files of a complete job are there with their sizes."""
    store = open_store(url)
    sizes = store.list()
    if manifest.kind != "files":
        return all(sizes.get(entry.name) == entry.size for entry in manifest.entries)
    sidecars = [
        Sidecar.from_json(data, manifest.plan)
        for data in store.read_many([layout.sidecar(block) for block in range(manifest.blocks)])
    ]
    return all(sidecar is not None and sidecar.is_whole(sizes.get) for sidecar in sidecars)


def read_results(url: str) -> Iterator[Any]:
    """Iterate over the results in input order; of a reduction, over the one value (None when there is none).

    Of the format `files`: the files' absolute names. OutputError when the job is not complete, or a file is
    missing. Memory stays at some megabytes whatever the size.
    """
    store = open_store(url)
    manifest = manifest_in(store)
    if manifest is None:
        raise OutputError(
            f"{url} has no complete job: there is no {layout.MANIFEST}; `gristmill get` tells how far it is"
        )
    return chain.from_iterable(_batches(store, manifest))


def _batches(store: Store, manifest: Manifest) -> Iterator[list[Any]]:
    sizes = store.list() if manifest.kind != "files" else {}
    for block, entry in enumerate(manifest.entries):
        if manifest.kind == "files":
            sidecar = Sidecar.from_json(store.read(layout.sidecar(block)), manifest.plan)
            if sidecar is None:
                raise OutputError(f"{store.url}/{layout.sidecar(block)} is missing or broken")
            yield [f"{store.url}/{file['name']}" for file in sidecar.files or ()]
            continue
        if sizes.get(entry.name) != entry.size:
            raise OutputError(f"{store.url}/{entry.name} is not as the manifest says; run the job again")
        with store.open(entry.name) as file, told(f"{store.url}/{entry.name}", "read"):
            if manifest.kind == "value":
                yield [decode_value(file.read())]
            else:
                yield from iter_batches(file)
