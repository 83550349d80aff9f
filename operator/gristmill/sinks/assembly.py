"""Making a final block of staged parts: copy, or combine, what the cover chose, in the order of the input."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import Any, BinaryIO

from gristmill.errors import OutputError
from gristmill.planning.reduction import TreeFold
from gristmill.planning.values import Segment
from gristmill.sinks.drafts import Draft, told
from gristmill.sinks.encoding import encoded_combine
from gristmill.sinks.store import Store
from gristmill.sinks.writer import Payload

_PIECE = 1 << 20

#: a segment with the name of the part that has it
Placed = tuple[str, Segment]


def assemble_lines(store: Store, draft: Draft, chosen: Sequence[Placed]) -> Payload:
    """Write the payloads of segments one after the other."""
    return _copy(store, draft, chosen)


def assemble_value(
    store: Store, draft: Draft, chosen: Sequence[Placed], combine: Callable[[Any, Any], Any]
) -> Payload:
    """Write the value of the tree over segments; fragments of a chunk make a tree over its items first."""
    combine = encoded_combine(combine)
    fold = TreeFold(combine)
    with _Parts(store) as parts:
        for start, group in groupby(chosen, lambda placed: placed[1].start):
            inner = TreeFold(combine)
            for name, segment in group:
                value = b"".join(parts.read(name, segment.offset, segment.length))
                if value:
                    inner.push(segment.low, value)
            found, value = inner.result()
            if found:
                fold.push(start, value)
    found, value = fold.result()
    data = value if found else b""
    draft.write(data)
    return Payload(draft, len(data), hashlib.sha256(data).hexdigest(), _items(chosen), [])


def assemble_files(
    store: Store, draft: Draft, chosen: Sequence[Placed], name_of: Callable[[int], str]
) -> Payload:
    """Collect the files of chunks that are there already; write those of split chunks from fragments."""
    files: list[dict[str, Any]] = []
    for start, group in groupby(chosen, lambda placed: placed[1].start):
        placed = list(group)
        if placed[0][1].high == 0:
            files += placed[0][1].files
            continue
        piece = store.draft()
        try:
            made = _copy(store, piece, placed)
            store.publish(piece, name_of(start))
        finally:
            piece.discard()
        files.append({"name": name_of(start), "bytes": made.size, "sha256": made.sha256, "items": made.items})
    return Payload(draft, 0, "", _items(chosen), files)


def _copy(store: Store, draft: Draft, chosen: Sequence[Placed]) -> Payload:
    digest = hashlib.sha256()
    size = 0
    with _Parts(store) as parts:
        for name, offset, length in _joined(chosen):
            for data in parts.read(name, offset, length):
                draft.write(data)
                digest.update(data)
            size += length
    return Payload(draft, size, digest.hexdigest(), _items(chosen), [])


def _items(chosen: Iterable[Placed]) -> int:
    return sum(segment.items for _, segment in chosen)


def _joined(chosen: Iterable[Placed]) -> Iterator[tuple[str, int, int]]:
    """Yield (part, offset, length), neighbours in the same part as one."""
    last: tuple[str, int, int] | None = None
    for name, segment in chosen:
        if last and last[0] == name and last[1] + last[2] == segment.offset:
            last = (name, last[1], last[2] + segment.length)
            continue
        if last:
            yield last
        last = (name, segment.offset, segment.length)
    if last:
        yield last


class _Parts:
    """Reads pieces of parts; the part that was read last stays open."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name = ""
        self._file: BinaryIO | None = None
        self._stack = ExitStack()

    def __enter__(self) -> _Parts:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def read(self, name: str, offset: int, length: int) -> Iterator[bytes]:
        """Yield a range of a part in pieces; OutputError when it ends early."""
        if self._file is None or name != self._name:
            self._stack.close()
            self._file, self._name = self._stack.enter_context(self._store.open(name)), name
        place = f"{self._store.url}/{name}"
        with told(place, "read"):
            self._file.seek(offset)
            while length:
                data = self._file.read(min(length, _PIECE))
                if not data:
                    raise OutputError(f"{place} ended early")
                length -= len(data)
                yield data
