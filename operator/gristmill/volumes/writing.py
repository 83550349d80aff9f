"""Taking content in: hashed while it is written, in one pass, with a few blocks in memory however large it is.

A thread hashes while another writes, so that the slower of both decides. Small content waits in memory until its digest
is known and goes to its key at once; large content goes to a draft that is moved there.
"""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from gristmill.volumes import blocks
from gristmill.volumes.blocks import BLOCK_BYTES, Bytes, Manifest
from gristmill.volumes.names import content_key, heap_name, hold_key, trash_key
from gristmill.volumes.port import Backend, Draft
from gristmill.volumes.reading import is_whole, places

#: blocks that are kept in memory before a draft is begun
_MOST_HELD = 8
#: blocks that may wait to be hashed
_MOST_WAITING = 4


class ContentWriter:
    """Takes content piece by piece. End it with `finish` and `publish`, or with `discard`."""

    def __init__(self, backend: Backend) -> None:
        self.size = 0
        self._backend = backend
        self._rest = bytearray()
        self._held: list[bytes] = []
        self._draft: Draft | None = None
        self._checks = bytearray()
        self._sha256 = hashlib.sha256()
        self._hasher: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()
        self._manifest: Manifest | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def write(self, data: Bytes) -> int:
        """Append bytes, and return how many. StorageFailed when the storage is full."""
        view = memoryview(data).cast("B")
        length = len(view)
        if not self._rest and length == BLOCK_BYTES and isinstance(data, bytes):
            self._take(data)
        else:
            while view:
                room = BLOCK_BYTES - len(self._rest)
                self._rest += view[:room]
                view = view[room:]
                if len(self._rest) == BLOCK_BYTES:
                    block, self._rest = bytes(self._rest), bytearray()
                    self._take(block)
        self.size += length
        return length

    def finish(self) -> Manifest:
        """End the content, and return what it is."""
        if self._manifest is None:
            if self._rest:
                self._take(bytes(self._rest))
                self._rest = bytearray()
            self._end_hashing()
            self._manifest = Manifest(self.size, self._sha256.hexdigest(), bytes(self._checks))
        return self._manifest

    def held(self) -> bytes:
        """Return the content, where it is small enough to have waited in memory."""
        return b"".join(self._held)

    def publish(self, *, anew: bool = True) -> Manifest:
        """Have the content at its key, in place of the same, so that damage is mended, and `anew` its age begins.

        Where a storage can't do that safely, the same is left if it is whole, and `anew` is kept as if it had a name.
        """
        manifest = self.finish()
        key = content_key(manifest.sha256)
        if self._backend.move_seconds and self._is_kept(manifest, anew=anew):
            return manifest
        if self._draft is None:
            self._backend.write(key, b"".join([*self._held, manifest.encode()]))
        else:
            self._draft.write(manifest.encode())
            self._draft.publish(key)
        return manifest

    def discard(self) -> None:
        """Remove what was not published."""
        self._held.clear()
        if self._hasher is not None:
            self._hasher.shutdown(cancel_futures=True)
            self._hasher = None
        if self._draft is not None:
            self._draft.discard()

    def _is_kept(self, manifest: Manifest, *, anew: bool) -> bool:
        """Return whether the content is there already, and stays: nothing is written over what may be being moved.

        What is in its place and not whole is set aside. What is aside and whole is put back.
        """
        key, is_held = content_key(manifest.sha256), not anew
        while (there := self._whole_at(manifest, every=anew)) is not None:
            if not is_held:  # (before it is seen to be in its place, as a name is)
                self._backend.write(hold_key(manifest.sha256), b"?")
                is_held = True
            if there != key:
                self._backend.move(there, key)
            if self._backend.stat(key) is not None:
                return True
        return False

    def _whole_at(self, manifest: Manifest, *, every: bool) -> str | None:
        """Return where the content is whole; None where it is not."""
        key = content_key(manifest.sha256)
        for there in places(self._backend, manifest.sha256):
            if is_whole(self._backend, there, manifest.sha256, manifest.size, every=every):
                return there
            if there == key and self._backend.stat(key) is not None:
                self._backend.move(key, trash_key(heap_name(self._backend.now()), manifest.sha256))
                return None
        return None

    def _take(self, block: bytes) -> None:
        self._checks += blocks.check_of(block)
        self._hash(block)
        if self._draft is None and len(self._held) < _MOST_HELD:
            self._held.append(block)
            return
        if self._draft is None:
            self._draft = self._backend.draft()
            for held in self._held:
                self._draft.write(held)
            self._held.clear()
        self._draft.write(block)

    def _hash(self, block: bytes) -> None:
        if len(block) < BLOCK_BYTES and self._hasher is None:
            self._sha256.update(block)
            return
        if self._hasher is None:
            self._hasher = ThreadPoolExecutor(1, "sha256")
        while len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._hasher.submit(self._sha256.update, block))

    def _end_hashing(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()
        if self._hasher is not None:
            self._hasher.shutdown()
            self._hasher = None
