"""A bit flipped on one server's disk: reads go around it, `verify` finds it, names the file, and mends it."""

from __future__ import annotations

import secrets
import urllib.request
from collections.abc import Callable

import pytest
from tests.volumes.builders import MIB, content, findings, flip
from tests.volumes.seaweed import Seaweed

from gristmill.volumes.errors import Damaged
from gristmill.volumes.filer.backend import FilerBackend
from gristmill.volumes.filer.tokens import Tokens
from gristmill.volumes.names import content_key
from gristmill.volumes.store import ContentStore
from gristmill.volumes.verification import Finding, verify

#: content whose name has it, in one chunk, and in several, of which a server gives ranges without looking at them
SIZES = (1000, 100_000, 9 * MIB)


@pytest.fixture(scope="module")
def own(start_seaweed: Callable[..., Seaweed]) -> Seaweed:
    """A SeaweedFS that the tests here damage."""
    return start_seaweed(servers=3)


@pytest.fixture
def volume(own: Seaweed) -> ContentStore:
    return own.store(secrets.token_hex(8))


def flip_on(seaweed: Seaweed, server: str, data: bytes, place: int) -> None:
    """Flip a bit of content where it lies on a server's disk."""
    for path in seaweed.data(server):
        found = path.read_bytes().find(data[place : place + 64])
        if found >= 0:
            flip(path, found)
            return
    raise AssertionError(f"{server} has no copy")


def mend(store: ContentStore) -> list[Finding]:
    found: list[Finding] = []
    verify(store.backend, found.append, repair=True)
    return found


@pytest.mark.parametrize("size", SIZES)
def test_one_copy(own: Seaweed, volume: ContentStore, size: int) -> None:
    data = content(size, secrets.randbits(64))
    volume.save("a/file", data)
    volume.save("other", content(5000))
    place = size // 2
    flip_on(own, own.servers[1], data, place)
    for _ in range(12):  # (a filer asks one server or another)
        with volume.open("a/file") as file:
            file.seek(place - 10)
            assert file.read(20) == data[place - 10 : place + 10]
            file.seek(0)
            assert file.read() == data
    found = findings(volume)
    assert {(finding.path, finding.kind) for finding in found} == {("a/file", "copy")}
    assert [(finding.path, finding.kind) for finding in mend(volume)] == [("a/file", "mended")]
    assert findings(volume) == []
    assert volume.open("a/file").read() == data


@pytest.mark.parametrize("size", SIZES)
def test_a_copy_that_is_gone(own: Seaweed, volume: ContentStore, size: int) -> None:
    volume.save("file", data := content(size, secrets.randbits(64)))
    backend = volume.backend
    assert isinstance(backend, FilerBackend)
    ((key, _),) = backend.walk("content" if size > 3072 else "names")
    fid = backend._chunks(key, afresh=True)[0].fid
    remove_copy(own, own.addresses[1], fid)
    assert {(finding.path, finding.kind) for finding in findings(volume)} == {("file", "copy")}
    assert [(finding.path, finding.kind) for finding in mend(volume)] == [("file", "mended")]
    assert findings(volume) == []
    for server in own.addresses[0], own.addresses[2]:
        for chunk in backend._chunks(key, afresh=True):
            remove_copy(own, server, chunk.fid)
    assert volume.open("file").read() == data


def test_all_copies_are_gone(own: Seaweed, volume: ContentStore) -> None:
    given = {
        name: content(1000 if name == "inline" else 5000, secrets.randbits(64))
        for name in ("inline", "other", "whole")
    }
    for name, data in given.items():
        volume.save(name, data)
    backend = volume.backend
    assert isinstance(backend, FilerBackend)
    for key in ("names/inline", content_key(volume.stat("other").sha256)):
        (chunk,) = backend._chunks(key, afresh=True)
        for server in own.addresses:
            remove_copy(own, server, chunk.fid)
    assert sorted((finding.path, finding.kind) for finding in mend(volume)) == [
        ("inline", "missing"),
        ("other", "missing"),
    ]
    volume.remove("inline")
    for name in ("inline", "other"):
        volume.save(name, given[name])
    assert findings(volume) == []
    assert {name: volume.open(name).read() for name in given} == given


def test_a_name_that_is_written_meanwhile_is_not_put_again(own: Seaweed, volume: ContentStore) -> None:
    names = ("one", "two")
    for name in names:
        volume.save(name, data := content(1000, secrets.randbits(64)))
        flip_on(own, own.servers[1], data, 500)
    written = []

    def write_other(finding: Finding) -> None:
        if not written:
            written.extend(name for name in names if name != finding.path)
            volume.save(written[0], b"new")

    verify(volume.backend, write_other, repair=True)
    assert volume.open(written[0]).read() == b"new"
    assert findings(volume) == []


def remove_copy(seaweed: Seaweed, server: str, fid: str) -> None:
    """Remove a chunk from one server only."""
    headers = {"Authorization": f"BEARER {Tokens(seaweed.key).token(fid)}"}
    request = urllib.request.Request(f"{server}/{fid}?type=replicate", method="DELETE", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 202


def test_servers_that_are_not_reached(own: Seaweed, volume: ContentStore) -> None:
    volume.save("file", content(5000))
    assert isinstance(volume.backend, FilerBackend)
    away = "http://127.0.0.1:9"
    servers: list[str] = []
    backend = FilerBackend(volume.backend.url, own.key, lambda: servers)
    for now, unreached in (
        ([*own.addresses[1:], away], [away]),
        ([], ["all servers (no address of one is known)"]),
        ([*own.addresses[1:], away], [away]),
        (own.addresses, []),
    ):
        servers[:] = now
        assert verify(backend, lambda finding: None).unreached == unreached


@pytest.mark.parametrize("size", SIZES[1:])
def test_all_copies(own: Seaweed, volume: ContentStore, size: int) -> None:
    data = content(size, secrets.randbits(64))
    volume.save("file", data)
    for server in own.servers:
        flip_on(own, server, data, size // 2)
    with pytest.raises(Damaged, match=r"file.* is damaged"):
        volume.open("file").read()
    assert "damaged" in {finding.kind for finding in mend(volume)}
    volume.save("file", data)
    assert findings(volume) == []
