"""A volume as the place of an output: what sinks expect of a store, by its URL."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gristmill.errors import OutputError
from gristmill.sinks.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("GRISTMILL_VOLUMES", str(tmp_path / "volumes"))
    return open_store("volume://v/out")


def test_one_of_many_claims_a_name(store: Store) -> None:
    begin = threading.Barrier(8)
    claimed = []

    def claim(number: int) -> None:
        draft = store.draft()
        draft.write(b"%d" % number)
        begin.wait()
        if store.claim(draft, "plan.json"):
            claimed.append(number)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.read("plan.json")] == [b"%d" % number for number in claimed]


def test_files_and_folders(store: Store) -> None:
    assert store.list() == {}
    for name in ("a", "b/c", "b/d"):
        draft = store.draft()
        draft.write(name.encode() * 2000)
        store.publish(draft, name)
    assert store.list() == {"a": 2000}
    assert store.list(deep=True) == {"a": 2000, "b/c": 6000, "b/d": 6000}
    assert store.read_many(["a", "nix"]) == [b"a" * 2000, None]
    assert store.read_ends([("b/c", 6000), ("nix", 9)], 3) == [b"b/c", None]
    assert store.size("b/d") == 6000
    assert store.open("b/d").read(3) == b"b/d"
    store.remove("b")
    store.remove("nix")
    assert store.list(deep=True) == {"a": 2000}


def test_what_fails_is_told_as_of_an_output(store: Store, tmp_path: Path) -> None:
    draft = store.draft()
    draft.write(b"x" * 9000)
    store.publish(draft, "a")
    (path,) = (path for path in (tmp_path / "volumes/v/content").rglob("*") if path.is_file())
    path.write_bytes(b"y")
    with pytest.raises(OutputError, match=r"volume://v/out/a can't be read: .*a is damaged"):
        store.read("a")
