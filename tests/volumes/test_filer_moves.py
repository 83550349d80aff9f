"""Moves that a filer was killed in the middle of: two keys have the same chunks, and nothing takes them from a name."""

from __future__ import annotations

import secrets
import time

import pytest
from tests.conftest import PATIENCE, Until
from tests.volumes.builders import MIB, content
from tests.volumes.seaweed import Seaweed

from gristmill.volumes.collection import Collected, collect
from gristmill.volumes.errors import StorageFailed
from gristmill.volumes.filer.backend import FilerBackend
from gristmill.volumes.names import content_key, trash_key
from gristmill.volumes.store import ContentStore
from gristmill.volumes.writing import ContentWriter

pytestmark = pytest.mark.timeout(300)


class _HalfMoves(FilerBackend):
    """Leaves an object at its old key, too, as a filer does that is killed between the two steps of a move."""

    seaweed: Seaweed

    def collected(self) -> Collected:
        """Collect by whole moves."""
        return collect(FilerBackend(self.url, self.seaweed.key, lambda: self.seaweed.addresses), 0)

    def move(self, key: str, to: str) -> bool:
        before = self._told(key)
        assert before is not None
        saved = self.seaweed.folder / secrets.token_hex(8)
        self.seaweed.shell(f"fs.meta.save -o {saved} {self._root}")
        super().move(key, to)
        end = time.monotonic() + PATIENCE
        while (again := self._told(key)) is None:  # (the shell may end before it has loaded all)
            assert time.monotonic() < end
            self.seaweed.shell(f"fs.meta.load {saved}")
        assert again["chunks"] == before["chunks"]
        raise StorageFailed("the filer does not answer")


@pytest.fixture
def half(seaweed: Seaweed) -> _HalfMoves:
    half = _HalfMoves(f"{seaweed.url}/{secrets.token_hex(8)}", seaweed.key, lambda: seaweed.addresses)
    half.seaweed = seaweed
    return half


def chunks_are_gone(backend: FilerBackend, until: Until) -> None:
    """Wait until the filer has removed the chunks of all that was removed until now: it does so later, in turn."""
    backend.write("drafts/last", content(5000))
    chunks = backend._chunks("drafts/last", afresh=True)
    backend.delete("drafts/last")
    until(lambda: not any(backend._copies.read(chunks, 0, 10)))


def assert_chunks_are_there(backend: FilerBackend, until: Until) -> None:
    """See that the servers have all chunks of the only content (a filer reads from its memory what they lost)."""
    chunks_are_gone(backend, until)
    ((key, _),) = backend.walk("content")
    for chunk in backend._chunks(key, afresh=True):
        assert any(backend._copies.read([chunk], chunk.offset, chunk.offset + 10))


def test_to_the_trash(half: _HalfMoves, until: Until) -> None:
    store = ContentStore(half)
    sha256 = store.put(data := content(5000)).sha256
    with pytest.raises(StorageFailed):
        half.move(content_key(sha256), trash_key("000000000001-00", sha256))
    store.name("file", sha256)
    assert half.collected().removed == 1
    assert_chunks_are_there(half, until)
    assert store.open("file").read() == data


def test_to_the_trash_twice(half: _HalfMoves, seaweed: Seaweed, until: Until) -> None:
    whole = FilerBackend(half.url, seaweed.key, lambda: seaweed.addresses)
    store = ContentStore(whole)
    sha256 = store.put(data := content(5000)).sha256
    with pytest.raises(StorageFailed):
        half.move(content_key(sha256), trash_key("000000000001-00", sha256))
    whole.move(content_key(sha256), trash_key(f"{int(whole.now()):012}-00", sha256))
    assert collect(whole).removed == 1
    store.name("file", sha256)
    assert_chunks_are_there(whole, until)
    assert store.open("file").read() == data


def test_of_a_draft(half: _HalfMoves, until: Until) -> None:
    store = ContentStore(half)
    data = content(9 * MIB)
    writer = ContentWriter(half)
    writer.write(data)
    with pytest.raises(StorageFailed):
        writer.publish()
    writer.discard()
    store.name("file", writer.finish().sha256)
    assert half.collected().drafts == 1
    assert half.list("drafts") == []
    assert_chunks_are_there(half, until)
    assert store.open("file").read() == data
