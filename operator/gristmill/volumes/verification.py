"""Finding damage before somebody needs the file: every block of every name, in each copy that the storage keeps."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from gristmill.volumes import blocks, records
from gristmill.volumes.blocks import Manifest
from gristmill.volumes.errors import Damaged, NotThere, StorageFailed
from gristmill.volumes.names import name_key
from gristmill.volumes.naming import Names, in_batches
from gristmill.volumes.parallel import in_parallel
from gristmill.volumes.port import Backend
from gristmill.volumes.reading import Content, locate
from gristmill.volumes.records import Record
from gristmill.volumes.writing import ContentWriter

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a file: `kind` is `damaged`, `missing`, or `copy` where another copy is right.

    It is `mended` where that other copy has been put in the place of all.
    """

    path: str
    kind: str
    block: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at: names, contents that they point at, and bytes of these.

    `unreached` are servers that did not answer: their copies were not looked at.
    """

    names: int
    contents: int
    bytes: int
    unreached: Sequence[str] = ()


def verify(
    backend: Backend,
    found: Callable[[Finding], None],
    looked: Callable[[int], None] | None = None,
    below: str = "",
    *,
    repair: bool = False,
) -> Verified:
    """Read all that names point at, and tell what is wrong; content that many names share is read once.

    `looked` is told of bytes that were read. `below`: only the names in that folder, or that one. `repair`: what is
    damaged, and right in another copy or in the trash, is put again, which gives new copies of it.
    """
    contents: dict[str, list[Finding]] = {}
    names = size = 0
    backend.unreached()  # (what was before does not count)
    for path, record, finding in _names(backend, below):
        names += 1
        if finding is not None and record is not None and repair:
            found(_mended(finding, partial(_put_name_again, backend, path, record)))
        elif finding is not None:
            found(finding)
        if record is None:
            continue
        if record.inline is None and record.sha256 not in contents:
            findings = list(_look(backend, path, record, looked))
            if findings and repair and all(one.kind != "missing" for one in findings):
                mended = _mended(findings[0], partial(_put_again, backend, path, record, findings[0].kind))
                findings = [mended] if mended.kind == "mended" else [mended, *findings[1:]]
            contents[record.sha256] = findings
            size += record.size
        if record.inline is None:
            for one in contents[record.sha256]:
                found(Finding(path, one.kind, one.block, one.reason))
    return Verified(names, len(contents), size, backend.unreached())


def _names(backend: Backend, below: str) -> Iterator[tuple[str, Record | None, Finding | None]]:
    """Yield the names below a folder, or one, with what each means, and what is wrong with its copies."""
    looked: dict[str, tuple[Record | None, Finding | None]] = {}

    def look(path: str) -> None:
        with suppress(FileNotFoundError):  # (it was removed meanwhile)
            looked[path] = _look_at_name(backend, path)

    for batch in in_batches(Names(backend).walk()):
        paths = [path for path, _ in batch if not below or path == below or path.startswith(f"{below}/")]
        in_parallel(look, paths)
        for path, (record, finding) in looked.items():
            yield path, record, finding
        looked.clear()


def _look_at_name(backend: Backend, path: str) -> tuple[Record | None, Finding | None]:
    copies = backend.copies(name_key(path), 0, records.MOST_BYTES + 1)
    try:
        good, bad = _sorted_out(copies, lambda data: records.decode(data, path))
    except StorageFailed as error:
        return None, _lost(path, error)
    if good is None:
        return None, Finding(path, "damaged", None, str(bad[0]))
    return good, _of_copies(path, None, bad, "its name")


def _look(
    backend: Backend, path: str, record: Record, looked: Callable[[int], None] | None
) -> Iterator[Finding]:
    """Yield what is wrong with the content that a name points at, in any copy."""
    size = record.size
    try:
        key, _ = locate(backend, record.sha256, path)
        ends = backend.copies(key, size, size + blocks.end_bytes(size) + 1)
        manifest, bad = _sorted_out(ends, lambda data: blocks.decode(data, record.sha256, size, path))
        if manifest is None:
            yield Finding(path, "damaged", None, str(bad[0]))
            return
        if finding := _of_copies(path, None, bad, "the list of its blocks"):
            yield finding
        sha256 = hashlib.sha256()
        is_whole = True
        for block in range(manifest.blocks):
            start, stop = blocks.block_span(block, size)
            good, bad = _sorted_out(
                backend.copies(key, start, stop), partial(_checked, manifest, block, path)
            )
            if good is None:
                is_whole = False
                yield Finding(path, "damaged", block, f"block {block:,} does not match its check")
            else:
                sha256.update(good)
                if finding := _of_copies(path, block, bad, f"block {block:,}"):
                    yield finding
            if looked is not None:
                looked(stop - start)
        if is_whole and sha256.hexdigest() != record.sha256:
            yield Finding(path, "damaged", None, "its blocks are right, and its sha256 is not")
    except FileNotFoundError as error:
        yield Finding(path, "missing", None, str(error))
    except StorageFailed as error:
        yield _lost(path, error)


def _lost(path: str, error: StorageFailed) -> Finding:
    """Return that a storage answers, and has not what it tells of. StorageFailed where it does not answer."""
    if error.errno != errno.EIO:
        raise error
    return Finding(path, "missing", None, f"{error}: remove it, and put it again")


def _mended(finding: Finding, mend: Callable[[], None]) -> Finding:
    """Return what a finding is after mending; it stays what it is where that was not possible."""
    try:
        mend()
    except (NotThere, Damaged):  # (it was removed meanwhile, or the good copy is lost, too)
        return finding
    except StorageFailed as error:
        if error.errno not in (errno.EIO, errno.ENOSPC):
            raise
        return replace(finding, reason=f"{finding.reason}; it could not be put again: {error}")
    return replace(finding, kind="mended", reason=f"{finding.reason}; it was put again")


def _put_again(backend: Backend, path: str, record: Record, kind: str) -> None:
    content = Content(backend, record.sha256, path, record.size)
    if kind == "damaged":  # (where no other is right, nothing is written)
        for _ in content.read_blocks(0, content.manifest.blocks):
            pass
    with ContentWriter(backend) as writer:
        for block in content.read_blocks(0, content.manifest.blocks):
            writer.write(block)
        if writer.finish().sha256 != record.sha256:
            raise Damaged(path, None, "its blocks are right, and its sha256 is not")
        writer.publish()


def _put_name_again(backend: Backend, path: str, record: Record) -> None:
    """Write a name's record again, unless somebody has written another meanwhile."""
    if Names(backend).read(path) == record:
        backend.write(name_key(path), record.encode(path))


def _checked(manifest: Manifest, block: int, path: str, data: bytes) -> bytes:
    if blocks.check_of(data) != manifest.check(block):
        raise Damaged(path, block, "it does not match its check")
    return data


def _sorted_out(copies: Iterator[bytes], read: Callable[[bytes], _T]) -> tuple[_T | None, list[Damaged]]:
    """Return what a good copy says, None where there is none, and what is wrong with the bad ones."""
    good, bad = None, []
    for data in copies:
        try:
            good = read(data)
        except Damaged as error:
            bad.append(error)
    return good, bad


def _of_copies(path: str, block: int | None, bad: list[Damaged], what: str) -> Finding | None:
    """Return that some copies are damaged, where another is right."""
    return Finding(path, "copy", block, f"{len(bad)} of its copies: {what} is damaged") if bad else None
