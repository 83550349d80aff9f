"""A filer as a storage: its key, names of all kinds, folders, and where a pod finds it."""

from __future__ import annotations

import secrets
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPResponse
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from tests.volumes.builders import MIB, content, findings
from tests.volumes.seaweed import Seaweed

from gristmill.cli.copying import get
from gristmill.errors import UsageError
from gristmill.volumes import open_volume
from gristmill.volumes.collection import collect
from gristmill.volumes.errors import StorageFailed, Taken
from gristmill.volumes.filer import backend
from gristmill.volumes.filer.backend import FilerBackend
from gristmill.volumes.filer.entries import Chunk, are_whole
from gristmill.volumes.filer.tokens import Tokens
from gristmill.volumes.names import content_key
from gristmill.volumes.port import Entry
from gristmill.volumes.store import ContentStore

_LONG = "ü" * 127 + "x"


@pytest.fixture
def volume(seaweed: Seaweed) -> ContentStore:
    return seaweed.store(secrets.token_hex(8))


def status(method: str, url: str, token: str = "") -> int:
    headers = {"Authorization": f"BEARER {token}"} if token else {}
    try:
        request = urllib.request.Request(url, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_nobody_without_the_key_reads_or_writes(seaweed: Seaweed, volume: ContentStore) -> None:
    volume.save("file", content(5000))
    backend = volume.backend
    assert isinstance(backend, FilerBackend)
    (key,) = [key for key, _ in backend.walk("content")]
    url = f"{seaweed.url}{backend._path(key)}"
    (chunk,) = backend._chunks(key)
    places = [url, f"{seaweed.url}/", f"{seaweed.url}/?proxyChunkId={chunk.fid}"]
    places += [f"{server}/{chunk.fid}" for server in seaweed.addresses]
    for token in ("", Tokens("another key").token(), Tokens("another key").token(chunk.fid)):
        for place in places:
            for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
                assert status(method, place, token) == 401, (method, place)
    (server, *_) = seaweed.addresses
    assert status("GET", f"{server}/{chunk.fid}", Tokens(seaweed.key).token()) == 401  # (one for the filer)
    assert status("GET", f"{server}/{chunk.fid}", Tokens(seaweed.key).token("1,00")) == 401
    assert status("GET", f"{server}/{chunk.fid}", Tokens(seaweed.key).token(chunk.fid)) == 200
    assert volume.open("file").read() == content(5000)
    stranger = ContentStore(FilerBackend(backend.url, "another key", list))
    with pytest.raises(StorageFailed, match="does not take the key"):
        stranger.save("file", b"")


@pytest.mark.parametrize("size", [5000, 9 * MIB])
@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_clocks_that_differ(seaweed: Seaweed, volume: ContentStore, ahead: float, size: int) -> None:
    backend = volume.backend
    assert isinstance(backend, FilerBackend)
    backend._calls._tokens = Tokens(seaweed.key, lambda: time.time() + ahead)
    volume.save("file", content(size))
    assert volume.open("file").read() == content(size)


_NAMES = ["a b", "100%", "%41", "q?x=1&y", "h#h", "p+p", "ä/é/e\u0301", "…/🦆", ";a:b@c", "a~b'\"<>|*", " x "]


@pytest.mark.parametrize("name", [*_NAMES, f"{_LONG}/{_LONG}"])
def test_names(volume: ContentStore, name: str) -> None:
    volume.save(f"d/{name}", content(5000))
    volume.save("d/other", b"")
    assert sorted(file.path for file in volume.walk()) == sorted([f"d/{name}", "d/other"])
    assert volume.open(f"d/{name}").read() == content(5000)
    assert volume.backend.move(f"names/d/{name}", f"names/e/{name}")
    assert [path for path, _ in volume.names.walk("e")] == [f"e/{name}"]
    volume.remove(f"e/{name}")
    assert [file.path for file in volume.list()] == ["d"]


def test_a_folder_and_a_file_of_one_name(volume: ContentStore) -> None:
    volume.save("a/b", b"1")
    volume.save("a", b"2")
    volume.save("a/b/c", b"3")
    assert [volume.open(name).read() for name in ("a/b", "a", "a/b/c")] == [b"1", b"2", b"3"]
    with pytest.raises(Taken):
        volume.save("a", b"4", new=True)
    volume.remove("a")
    with pytest.raises(Taken, match="is a folder"):
        volume.save("a", b"4", new=True)


def test_what_can_not_be_both_here(volume: ContentStore, tmp_path: Path) -> None:
    volume.save("both", b"1")
    volume.save("both/file", b"2")
    with pytest.raises(UsageError, match="both would have to be a file, and the folder of file: get one of"):
        get("volume://v", str(tmp_path / "out"), lambda *told: None, lambda name: volume)
    assert not (tmp_path / "out").exists()


def test_a_listing_in_pages(volume: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"d/{number:02}" for number in range(23)] + ["d/x/y", "d/z/y"]
    for name in names:
        volume.save(name, name.encode())
    monkeypatch.setattr(backend, "_PAGE", 5)
    assert [file.path for file in volume.list("d")] == [*names[:23], "d/x", "d/z"]
    assert sorted(file.path for file in volume.walk()) == names


def test_folders_that_were_emptied_are_not_there(volume: ContentStore) -> None:
    volume.save("a/b/c/file", b"")
    volume.save("a/file", b"")
    volume.remove("a/b/c/file")
    assert [file.path for file in volume.list("a")] == ["a/file"]
    assert volume.backend.stat("names/a/b") is None
    volume.save("a/b", b"1")
    assert [(file.path, file.is_folder) for file in volume.list("a")] == [("a/b", False), ("a/file", False)]


def test_a_mounted_secret_is_the_volume(
    seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRISTMILL_VOLUMES", raising=False)
    monkeypatch.setenv("GRISTMILL_VOLUME_SECRETS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "sales"
    secret.mkdir()
    secret.joinpath("url").write_text(f"{seaweed.url}/{secrets.token_hex(8)}\n")
    assert open_volume("sales").backend.url == str(tmp_path / ".gristmill/volumes/sales")
    secret.joinpath("key").write_text(seaweed.key)
    store = open_volume("sales")
    assert store.backend.url == secret.joinpath("url").read_text().strip()
    assert open_volume("sales") is store
    store.save("file", content(5000))
    assert open_volume("sales").open("file").read() == content(5000)
    assert next(store.backend.copies("names/file", 0, 10)) == store.backend.read("names/file", 0, 10)
    monkeypatch.setenv("GRISTMILL_VOLUMES", str(tmp_path / "here"))
    assert open_volume("sales").backend.url == str(tmp_path / "here/sales")


def test_a_filer_that_is_away(volume: ContentStore) -> None:
    backend = FilerBackend("http://127.0.0.1:1", "key", list, patience=0.2)
    with pytest.raises(StorageFailed, match=r"names/x can't be written: http://127.0.0.1:1 does not answer"):
        ContentStore(backend).save("x", b"")


def test_a_draft_with_a_gap_replaces_nothing(volume: ContentStore) -> None:
    backend = volume.backend
    assert isinstance(backend, FilerBackend)
    key = f"content/{secrets.token_hex(32)}"
    backend.write(key, b"good")
    draft = backend.draft()
    draft.write(content(8 * MIB))
    draft._wait(0)
    assert backend.delete(draft._key)
    draft.write(content(8 * MIB))
    with pytest.raises(
        StorageFailed, match="was written with 16,777,216 bytes and has not all of them: write it again"
    ):
        draft.publish(key)
    draft.discard()
    assert backend.read(key) == b"good"


def test_a_draft_that_is_gone(volume: ContentStore) -> None:
    backend = volume.backend
    assert isinstance(backend, FilerBackend)
    draft = backend.draft()
    draft.write(content(8 * MIB))
    draft._wait(0)
    assert backend.delete(draft._key)
    with pytest.raises(StorageFailed, match="was removed while it was written: write it again"):
        draft.publish("content/key")
    assert backend.stat("content/key") is None


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [([(0, 4), (4, 2)], True), ([(0, 4), (5, 1)], False), ([(0, 4)], False), ([(2, 4)], False), ([], False)],
)
def test_gaps_are_seen(chunks: list[tuple[int, int]], expected: bool) -> None:
    assert are_whole([Chunk("1,00", offset, size) for offset, size in chunks], 6) is expected


def test_forked_children_read_their_own_answers(volume: ContentStore) -> None:
    for number in range(60):
        volume.save(f"{number}", b"file %d" % number)
    volume.list()  # (threads and connections are there)
    children = [get_context("fork").Process(target=_read_all, args=(volume,)) for _ in range(3)]
    for child in children:
        child.start()
    _read_all(volume)
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]


def _read_all(volume: ContentStore) -> None:
    assert len(volume.list()) == 60
    for number in range(60):
        with volume.open(f"{number}") as file:
            assert file.read() == b"file %d" % number


def test_pieces_that_are_sent_at_once_are_all_there(
    volume: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is sent twice where the filer's answer is lost, and none leaves out another."""
    backend = volume.backend
    assert isinstance(backend, FilerBackend)
    exchange = backend._calls._exchange
    seen: set[str] = set()

    def lost(connection: Any, method: str, path: str, *more: Any) -> Any:
        answer = exchange(connection, method, path, *more)
        if method == "PUT" and path not in seen:
            seen.add(path)
            raise ConnectionResetError
        return answer

    monkeypatch.setattr(backend._calls, "_exchange", lost)
    data = content(50 * MIB, secrets.randbits(64))
    volume.save("large", data)
    assert sum("offset" in path for path in seen) == 7
    assert volume.open("large").read() == data
    assert findings(volume) == []


def test_content_that_is_put_again_is_stored_once_and_kept_until_it_may_have_a_name(
    volume: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it lies does not change: nobody who reads it or moves it is in the way."""
    backend = volume.backend
    for _ in range(3):
        sha256 = volume.put(content(5000)).sha256
    assert [key for key, _ in backend.walk("content")] == [content_key(sha256)]
    assert list(backend.walk("trash")) == []
    holds = [entry.modified for _, entry in backend.walk("holds")]
    assert len(holds) == 2
    walk = backend.walk

    def with_old_content(folder: str) -> Iterator[tuple[str, Entry]]:
        for key, entry in walk(folder):
            yield key, replace(entry, modified=0) if folder == "content" else entry

    monkeypatch.setattr(backend, "walk", with_old_content)
    for seconds, aside in ((3599, 0), (3601, 1)):
        monkeypatch.setattr(backend, "now", lambda seconds=seconds: max(holds) + seconds)
        assert collect(backend, 3600).aside == aside


@pytest.mark.parametrize("cut", [0, 100, 3 * MIB, 5 * MIB + 77])
def test_a_stream_that_breaks_off_goes_on_where_it_was(
    seaweed: Seaweed, volume: ContentStore, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    data = content(20 * MIB, secrets.randbits(64))
    volume.save("large", data)
    backend = volume.backend
    assert isinstance(backend, FilerBackend)
    real, broken = HTTPResponse.read, []

    def read(answer: HTTPResponse, amount: int | None = None) -> bytes:
        found = real(answer, amount)
        if amount is None or amount < MIB or len(broken) == 3:
            return found
        had.append(len(found))
        if sum(had) <= cut:
            return found
        broken.append(sum(had))
        had.clear()
        raise ConnectionResetError

    had: list[int] = []
    monkeypatch.setattr(HTTPResponse, "read", read)
    assert b"".join(volume.read_blocks("large")) == data
    assert len(broken) == 3
    monkeypatch.undo()
    assert volume.open("large").read() == data
