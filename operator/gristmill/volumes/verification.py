"""Finding damage before somebody needs the file: every block of every name, in each copy that the storage keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gristmill.volumes import blocks
from gristmill.volumes.errors import Damaged, NotThere
from gristmill.volumes.naming import Names
from gristmill.volumes.port import Backend
from gristmill.volumes.reading import Content, locate
from gristmill.volumes.records import Record


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a file: `kind` is `damaged`, `missing`, or `copy` where another copy is right."""

    path: str
    kind: str
    block: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at: names, contents that they point at, and bytes of these."""

    names: int
    contents: int
    bytes: int


def verify(
    backend: Backend,
    found: Callable[[Finding], None],
    looked: Callable[[int], None] | None = None,
    below: str = "",
) -> Verified:
    """Read all that names point at, and tell what is wrong; content that many names share is read once.

    `looked` is told of bytes that were read. `below`: only the names in that folder, or that one.
    """
    contents: dict[str, list[Finding]] = {}
    names = size = 0
    for path, record in Names(backend).read_all():
        if below and path != below and not path.startswith(f"{below}/"):
            continue
        names += 1
        if isinstance(record, Damaged):
            found(Finding(path, "damaged", record.block, str(record)))
            continue
        if record.inline is None and record.sha256 not in contents:
            contents[record.sha256] = list(_look(backend, path, record, looked))
            size += record.size
        for finding in contents.get(record.sha256, ()):
            found(Finding(path, finding.kind, finding.block, finding.reason))
    return Verified(names, len(contents), size)


def _look(
    backend: Backend, path: str, record: Record, looked: Callable[[int], None] | None
) -> Iterator[Finding]:
    content = Content(backend, record.sha256, path, record.size)
    try:
        manifest = content.manifest
        key, _ = locate(backend, record.sha256, path)
        sha256 = hashlib.sha256()
        is_whole = True
        for block in range(manifest.blocks):
            good, bad = None, 0
            for data in backend.copies(key, *blocks.block_span(block, record.size)):
                if blocks.check_of(data) == manifest.check(block):
                    good = data
                else:
                    bad += 1
            if good is None:
                is_whole = False
                yield Finding(path, "damaged", block, f"block {block:,} does not match its check")
            else:
                sha256.update(good)
                if bad:
                    yield Finding(
                        path, "copy", block, f"{bad} copies of block {block:,} do not match its check"
                    )
            if looked is not None:
                start, stop = blocks.block_span(block, record.size)
                looked(stop - start)
        if is_whole and sha256.hexdigest() != record.sha256:
            yield Finding(path, "damaged", None, "its blocks are right, and its sha256 is not")
    except NotThere as error:
        yield Finding(path, "missing", None, str(error))
    except Damaged as error:
        yield Finding(path, "damaged", error.block, str(error))
