"""`gristmill volume`: files and folders into a volume and out of it, from a shell."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.local.conftest import Here
from tests.volumes.builders import MIB, content, flip, objects

SOURCES = {"a.txt": b"one", "b/large": content(2 * MIB), "b/c/ä b": b"", ".hidden": b"x" * 5000}


@pytest.fixture
def tree(here: Here) -> Path:
    folder = here.folder / "source"
    for name, data in SOURCES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def listed(here: Here, url: str) -> list[str]:
    lines = here.run("volume", "ls", "-r", "--json", url).stdout.splitlines()
    return [json.loads(line)["url"] for line in lines]


def test_a_folder_and_back(here: Here, tree: Path) -> None:
    assert here.run("volume", "put", "source", "volume://v/x").stdout == "volume://v/x: 4 files, 2.1 MB\n"
    assert listed(here, "volume://v") == [f"volume://v/x/{name}" for name in sorted(SOURCES)]
    here.run("volume", "get", "volume://v/x", "back")
    assert files(here.folder / "back") == SOURCES
    here.run("volume", "put", "source/", "volume://v/")
    assert files(here.folder / "source") == SOURCES
    assert "volume://v/a.txt" in listed(here, "volume://v")
    here.run("volume", "get", "volume://v/x/", "new/")
    assert files(here.folder / "new/x") == SOURCES
    done = here.run("volume", "verify", "volume://v")
    assert done.stdout == "8 files, 2.1 MB read: all is as it was written\n"


def test_a_file_and_its_facts(here: Here, tree: Path) -> None:
    sha256 = hashlib.sha256(SOURCES["b/large"]).hexdigest()
    told = json.loads(here.run("volume", "put", "source/b/large", "volume://v/in/", "--json").stdout)
    assert told == {
        "url": "volume://v/in/large",
        "path": "source/b/large",
        "bytes": 2 * MIB,
        "sha256": sha256,
    }
    facts = json.loads(here.run("volume", "stat", "volume://v/in/large", "--json").stdout)
    assert (facts["bytes"], facts["sha256"]) == (2 * MIB, sha256)
    assert f"sha256     {sha256}" in here.run("volume", "stat", "volume://v/in/large").stdout
    assert "bytes      2,097,152" in here.run("volume", "stat", "volume://v").stdout
    assert "2,097,152" in here.run("volume", "ls", "volume://v/in").stdout
    here.run("volume", "get", "volume://v/in/large", "other name")
    here.run("volume", "get", "volume://v/in/large", ".")
    assert (
        (here.folder / "large").read_bytes()
        == (here.folder / "other name").read_bytes()
        == SOURCES["b/large"]
    )


def test_through_pipes(here: Here) -> None:
    command = [sys.executable, "-m", "gristmill", "volume"]
    data = content(3 * MIB)
    subprocess.run([*command, "put", "-", "volume://v/piped"], cwd=here.folder, input=data, check=True)
    done = subprocess.run(
        [*command, "get", "volume://v/piped", "-"], cwd=here.folder, capture_output=True, check=True
    )
    assert done.stdout == data


def test_a_volume_is_not_put_into_itself(here: Here, tree: Path) -> None:
    here.run("volume", "put", "source", "volume://v/x")
    here.run("volume", "put", ".", "volume://v/y")
    assert len(listed(here, "volume://v/y")) == len(SOURCES)
    environment = {**os.environ, "GRISTMILL_VOLUMES": str(tree / "volumes")}
    done = here.run("volume", "put", "source", "volume://v/z", code=2, env=environment)
    assert "the volume is itself in source" in done.stderr


def test_removing_and_collecting(here: Here, tree: Path) -> None:
    here.run("volume", "put", "source", "volume://v/x")
    assert "-r removes" in here.run("volume", "rm", "volume://v/x", code=2).stderr
    assert here.run("volume", "rm", "volume://v/x/a.txt").stdout == "1 file removed\n"
    assert here.run("volume", "rm", "-r", "volume://v/x").stdout == "3 files removed\n"
    assert json.loads(here.run("volume", "gc", "volume://v", "--json").stdout)["aside"] == 0
    done = here.run("volume", "gc", "volume://v", "--grace", "0")
    assert done.stdout == "2 contents removed (2.1 MB), 2 set aside (2.1 MB), 0 put back\n"
    assert objects(here.folder / ".gristmill/volumes/v", "content") == []


def test_damage(here: Here, tree: Path) -> None:
    here.run("volume", "put", "source", "volume://v/x")
    large = max(
        objects(here.folder / ".gristmill/volumes/v", "content"), key=lambda path: path.stat().st_size
    )
    flip(large, MIB + 7)
    done = here.run("volume", "verify", "volume://v/x", code=1)
    assert "damaged  x/b/large: block 1 does not match its check" in done.stdout
    assert "4 files, 2.1 MB read: 1 problem" in done.stdout
    *found, last = map(
        json.loads, here.run("volume", "verify", "volume://v", "--json", code=1).stdout.splitlines()
    )
    assert [(one["path"], one["block"]) for one in found] == [("x/b/large", 1)]
    assert last["problems"] == 1
    done = here.run("volume", "get", "volume://v/x/b/large", "back", code=1)
    assert "error: x/b/large, block 1 is damaged" in done.stderr
    assert not list(here.folder.glob("back*"))
    assert not list(here.folder.glob(".gristmill-*"))
    here.run("volume", "put", "source/b/large", "volume://v/y")
    here.run("volume", "verify", "volume://v")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("put", "nix", "volume://v/x"), 2, "nix can't be read"),
        (("put", "source", "volume://v/../x"), 2, "the part '..'"),
        (("put", "source", "v/x"), 2, "write volume://NAME/path"),
        (("put", "source", "volume://V/x"), 2, "no name of a volume"),
        (("put", "-", "volume://v/"), 2, "the name is empty"),
        (("put", "odd", "volume://v/x"), 2, "is a link to a folder"),
        (("put", "dangling", "volume://v/x"), 2, "a link that leads nowhere"),
        (("put", "fifo", "volume://v/x"), 2, "neither a file nor a folder"),
        (("put", "bad", "volume://v/x"), 2, "control character"),
        (("get", "volume://v/nix", "here"), 1, "nix is not in"),
        (("get", "volume://other/x", "here"), 1, "x is not in"),
        (
            ("get", "volume://v/a.txt", "bad/fine/"),
            2,
            "bad/fine is no folder, and a.txt is to go into it: write",
        ),
        (
            ("get", "volume://v", "bad/fine"),
            2,
            "bad/fine is no folder, and a.txt is to go into it: write another",
        ),
        (
            ("get", "volume://v", "bad/fine/x/y"),
            2,
            "bad/fine is no folder, and x/y/a.txt is to go into it: write",
        ),
        (("ls", "volume://other"), 1, "there is no volume at"),
        (("ls", "volume://v/nix"), 1, "nix is not in"),
        (("stat", "volume://v/nix"), 1, "nix is not in"),
        (("rm", "volume://v/nix"), 1, "nix is not in"),
        (("verify", "volume://other"), 1, "there is no volume at"),
        (("gc", "volume://other"), 1, "there is no volume at"),
        (("gc", "volume://v/part"), 2, "leave out /part"),
    ],
)
def test_what_can_not_be(here: Here, tree: Path, words: tuple[str, ...], code: int, told: str) -> None:
    here.run("volume", "put", "source/a.txt", "volume://v/a.txt")
    (here.folder / "odd").mkdir()
    (here.folder / "odd/link").symlink_to(tree)
    (here.folder / "dangling").mkdir()
    (here.folder / "dangling/link").symlink_to("nowhere")
    os.mkfifo(here.folder / "fifo")
    (here.folder / "bad").mkdir()
    (here.folder / "bad/fine").write_text("x")
    (here.folder / "bad/line\nend").write_text("x")
    done = here.run("volume", *words, code=code)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert listed(here, "volume://v") == ["volume://v/a.txt"]
    assert not (here.folder / ".gristmill/volumes/other").exists()


def test_interrupted(here: Here, until: Until) -> None:
    """What comes by a pipe is not all there when Ctrl-C comes: nothing is named, nothing is left."""
    process = here.start("volume", "put", "-", "volume://v/x", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("x" * (20 * MIB))
    process.stdin.flush()
    drafts = here.folder / ".gristmill/volumes/v"
    until(lambda: drafts.exists() and objects(drafts, "drafts"))
    process.send_signal(signal.SIGINT)
    process.stdin.close()
    process.stdin = None
    assert process.wait(60) == 130
    assert listed(here, "volume://v") == []
    assert objects(drafts, "drafts") == objects(drafts, "content") == []


def test_interrupted_among_many(here: Here, until: Until) -> None:
    """Files that were complete are there, the others are not, and none is half there."""
    folder = here.folder / "source"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02}").write_bytes(content(4 * MIB, number))
    process = here.start("volume", "put", "source", "volume://v/x", "--json")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    rest = [json.loads(line) for line in process.stdout]
    assert process.wait(60) == 130
    told = sorted(one["url"] for one in (first, *rest))
    there = listed(here, "volume://v")
    assert set(told) <= set(there)
    assert len(there) < 60
    here.run("volume", "verify", "volume://v")
    assert objects(here.folder / ".gristmill/volumes/v", "drafts") == []


def test_a_terminal_shows_a_bar(here: Here, tree: Path) -> None:
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "gristmill", "volume", "put", "source", "volume://v/x"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        command, cwd=here.folder, stderr=child, stdout=subprocess.PIPE, env=environment
    ) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                shown += os.read(parent, 4096)
            except OSError:  # (the other end is closed)
                break
        assert process.wait() == 0
    os.close(parent)
    assert b"put, 4 files" in shown


def test_into_what_is_no_file(here: Here, tree: Path) -> None:
    """A pipe is written into and a link is followed: neither is replaced, as a device must not be."""
    here.run("volume", "put", "source", "volume://v/x")
    pipe = here.folder / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    here.run("volume", "get", "volume://v/x/a.txt", "pipe")
    assert pipe.is_fifo()
    assert os.read(reading, 100) == b"one"
    os.close(reading)
    (here.folder / "target").write_bytes(b"old")
    (here.folder / "link").symlink_to("target")
    (here.folder / "nowhere").symlink_to("new/file")
    for name in ("link", "nowhere"):
        here.run("volume", "get", "volume://v/x/a.txt", name)
        assert (here.folder / name).is_symlink()
    assert (here.folder / "target").read_bytes() == (here.folder / "new/file").read_bytes() == b"one"


def test_a_damaged_name_can_be_removed(here: Here, tree: Path) -> None:
    here.run("volume", "put", "source", "volume://v/x")
    names = here.folder / ".gristmill/volumes/v/names/x"
    for name in ("a.txt", "b/large"):
        flip(names / name, 20)
    assert "remove x/" in here.run("volume", "gc", "--grace", "0", "volume://v", code=1).stderr
    assert here.run("volume", "verify", "volume://v/x/a.txt", code=1).stdout.startswith("damaged  x/a.txt")
    assert here.run("volume", "rm", "volume://v/x/a.txt").stdout == "1 file removed\n"
    assert here.run("volume", "rm", "-r", "volume://v/x/b").stdout == "2 files removed\n"
    assert here.run("volume", "rm", "volume://v/x", code=2).stderr.count("-r removes") == 1
    assert "is not in" in here.run("volume", "rm", "volume://v/x/nix", code=1).stderr
    here.run("volume", "gc", "volume://v")
    assert listed(here, "volume://v") == ["volume://v/x/.hidden"]
