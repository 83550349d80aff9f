"""Processes of a SeaweedFS that are killed under writes: no acknowledged write is lost, and writes go on."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.conftest import Until
from tests.volumes.builders import MIB, content, findings
from tests.volumes.seaweed import Seaweed

from gristmill.volumes.collection import collect
from gristmill.volumes.errors import StorageFailed
from gristmill.volumes.store import ContentStore

pytestmark = pytest.mark.timeout(300)


class Writers:
    """Threads that save files, small and large, one after the other, and read again what they saved."""

    def __init__(self, store: ContentStore, threads: int = 3) -> None:
        self.saved: dict[str, bytes] = {}
        self.errors: list[Exception] = []
        #: seconds that the longest call took
        self.longest = 0.0
        self._store = store
        self._is_over = False
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(threads)]

    @contextmanager
    def at_work(self) -> Iterator[Writers]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._is_over = True
            for thread in self._threads:
                thread.join()

    def wrote(self, more: int) -> Callable[[], bool]:
        """Return whether so many more files have been saved since now, or it is over."""
        enough = len(self.saved) + more
        return lambda: len(self.saved) >= enough or bool(self.errors)

    def _write(self, number: int) -> None:
        count = 0
        try:
            while not self._is_over:
                count += 1
                name = f"{number}/{count}"
                data = content((100, 9 * MIB, 1000, 50_000)[count % 4], number * 1000 + count)
                begin = time.monotonic()
                self._store.save(name, data)
                self.saved[name] = data
                assert self._store.open(name).read() == data
                self.longest = max(self.longest, time.monotonic() - begin)
        except Exception as error:
            self.errors.append(error)


def assert_all_there(store: ContentStore, writers: Writers) -> None:
    assert [str(error) for error in writers.errors] == []
    for name, data in writers.saved.items():
        assert store.open(name).read() == data


@pytest.mark.parametrize("name", ["filer", "master"])
def test_killed_and_started_again(start_seaweed: Callable[..., Seaweed], until: Until, name: str) -> None:
    seaweed = start_seaweed(servers=3)
    store = seaweed.store()
    with Writers(store).at_work() as writers:
        for _ in range(3):
            until(writers.wrote(8))
            seaweed.kill(name)
            seaweed.start(name)
        until(writers.wrote(8))
    assert_all_there(store, writers)
    assert findings(store) == []
    collect(store.backend, 0)
    assert_all_there(store, writers)
    assert findings(store) == []


def test_a_server_is_killed_with_its_disk(start_seaweed: Callable[..., Seaweed], until: Until) -> None:
    seaweed = start_seaweed(servers=4)
    store = seaweed.store()
    with Writers(store).at_work() as writers:
        until(writers.wrote(20))
        seaweed.kill("server-1", with_disk=True)
        until(writers.wrote(1))
        until(writers.wrote(30))
    print(f"the longest call took {writers.longest:.1f} s")
    assert_all_there(store, writers)
    assert findings(store) == []


def test_full_disk(start_seaweed: Callable[..., Seaweed]) -> None:
    seaweed = start_seaweed(servers=1, copies=1, size_mb=1, volumes=6)
    store = seaweed.store()
    store.save("first", content(5000))
    saved: dict[str, bytes] = {}
    with pytest.raises(StorageFailed, match="can't be written: No space left") as told:
        save_many(store, saved)
    assert told.value.errno == errno.ENOSPC
    assert saved
    for name, data in {"first": content(5000), **saved}.items():
        assert store.open(name).read() == data
    assert findings(store) == []


def save_many(store: ContentStore, saved: dict[str, bytes]) -> None:
    for number in range(100):
        data = content(500_000, number)
        store.save(f"more/{number}", data)
        saved[f"more/{number}"] = data
