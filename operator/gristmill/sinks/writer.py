"""Writing one part: chunks come from the left, siblings are joined, nothing is seen before `close`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gristmill.planning.cover import fits, halves
from gristmill.sinks.drafts import Draft
from gristmill.sinks.encoding import encoded_combine
from gristmill.sinks.store import Store


@dataclass(frozen=True)
class Written:
    """What was made visible: a final block (`direct`) or a staged part, its results and bytes."""

    direct: bool
    items: int
    bytes: int


@dataclass(frozen=True)
class Payload:
    """A complete payload that waits to be published, with what a sidecar says of it."""

    draft: Draft
    size: int
    sha256: str
    items: int
    files: list[dict[str, Any]]
    #: drafts of these files that are to be published with it, and their names
    pending: Sequence[tuple[Draft, str]] = ()


class _Publisher(Protocol):
    """What a writer needs of its sink."""

    store: Store
    chunks: int
    combine: Callable[[Any, Any], Any] | None

    def publish_direct(self, block: int, payload: Payload) -> Written | None: ...

    def publish_part(
        self, block: int, start: int, nonce: str, payload: Payload, segments: list[Any]
    ) -> Written: ...

    def chunk_file(self, chunk: int) -> str: ...


class PartWriter:
    """Takes the results of the chunks from `start` on, in dyadic pieces inside one block.

    `append` is for JSON lines, `append_value` for reductions, `append_file` for a file a chunk. End it with
    `close` or `abort`. OutputError when the storage fails; then nothing was made visible.
    """

    def __init__(self, sink: _Publisher, block: int, bounds: tuple[int, int], start: int, nonce: str) -> None:
        self._sink = sink
        self._block = block
        self._bounds = bounds
        self._start = self._position = start
        self._nonce = nonce
        self._combine = encoded_combine(sink.combine) if sink.combine else None
        self._draft = sink.store.draft()
        self._sha256 = hashlib.sha256()
        self._size = 0
        #: fields of `Segment`, in order
        self._segments: list[list[Any]] = []
        self._values: list[bytes] = []
        self._files: list[tuple[Draft, str]] = []

    def append(self, stop: int, payload: bytes, items: int) -> None:
        """Add the JSON lines of the chunks up to `stop`."""
        self._add(stop, payload, items, [])
        self._merge()

    def append_value(self, stop: int, value: bytes, items: int) -> None:
        """Add the reduced value of the chunks up to `stop`, as `encode_value` wrote it. May call `combine`."""
        self._add(stop, b"", items, [])
        self._values.append(value)
        self._merge()

    def append_file(self, stop: int, data: bytes, items: int) -> None:
        """Add the file of the one chunk before `stop`."""
        name = self._sink.chunk_file(stop - 1)
        draft = self._sink.store.draft()
        self._files.append((draft, name))
        draft.write(data)
        draft.seal()
        told = {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "items": items}
        self._add(stop, b"", items, [told])
        self._merge()

    def close(self) -> Written:
        """Make it visible: as the final block when it is all of one, as a staged part otherwise."""
        try:
            for segment, payload in zip(self._segments, self._values, strict=False):
                segment[4], segment[5] = self._size, len(payload)
                self._write(payload)
            items = sum(segment[6] for segment in self._segments)
            files = [told for segment in self._segments for told in segment[7]]
            whole = Payload(self._draft, self._size, self._sha256.hexdigest(), items, files, self._files)
            if len(self._segments) == 1 and tuple(self._segments[0][:2]) == self._bounds:
                written = self._sink.publish_direct(self._block, whole)
                if written:
                    return written
            return self._sink.publish_part(self._block, self._start, self._nonce, whole, self._segments)
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove what was not made visible."""
        self._draft.discard()
        for draft, _ in self._files:
            draft.discard()

    def _add(self, stop: int, payload: bytes, items: int, files: list[dict[str, Any]]) -> None:
        start = self._position
        if not fits(start, stop, self._sink.chunks) or stop > self._bounds[1]:
            raise ValueError(f"[{start}, {stop}) is not a dyadic interval of block {self._block}")
        self._segments.append([start, stop, 0, 0, self._size, len(payload), items, files])
        self._write(payload)
        self._position = stop

    def _write(self, payload: bytes) -> None:
        if payload:
            self._draft.write(payload)
            self._sha256.update(payload)
            self._size += len(payload)

    def _merge(self) -> None:
        """Join siblings, like the carries of a binary counter; values are combined as in the tree."""
        segments, values = self._segments, self._values
        while len(segments) > 1:
            left, right = segments[-2], segments[-1]
            if not halves(left[0], left[1], right[1], self._sink.chunks):
                return
            segments.pop()
            left[1] = right[1]
            left[5] += right[5]
            left[6] += right[6]
            left[7] += right[7]
            if self._combine:
                value = values.pop()
                values[-1] = self._combine(values[-1], value)
