"""`gristmill lock` and `gristmill config`, as people type them."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.conftest import Until
from tests.protocol.harness import Server

from gristmill.cli.locking import _guard


class Shell:
    """Runs commands in a name space."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._namespace = secrets.token_hex(4)
        self._environment = {**os.environ, "GRISTMILL_COORDINATION": server.url}

    def start(self, *words: str) -> subprocess.Popen[str]:
        first = words[:2] if words[0] == "config" else words[:1]
        line = [sys.executable, "-m", "gristmill", *first, "-n", self._namespace, *words[len(first) :]]
        return subprocess.Popen(
            line, cwd=self._folder, env=self._environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, code: int = 0, given: str = "") -> str:
        process = self.start(*words)
        out, err = process.communicate(given, timeout=60)
        assert process.returncode == code, (out, err)
        return out if code == 0 else err

    def take_away(self, lock: str) -> None:
        with self._server.connect() as raw:
            raw.hdel(f"gristmill:coordination:{{{self._namespace}}}:records", f"lock/{lock}")


@pytest.fixture
def shell(valkey: Server, tmp_path: Path) -> Shell:
    return Shell(valkey, tmp_path)


def python(text: str) -> tuple[str, ...]:
    return ("--", sys.executable, "-c", text)


def test_a_command_runs_while_the_lock_is_held_and_its_exit_code_is_returned(shell: Shell) -> None:
    text = "import os; print(os.environ['GRISTMILL_LOCK'], int(os.environ['GRISTMILL_LOCK_TOKEN']) > 0)"
    assert shell.run("lock", "l", *python(text)) == "l True\n"
    shell.run("lock", "l", *python("raise SystemExit(7)"), code=7)
    assert "can't be run" in shell.run("lock", "l", "--", "no-such-command", code=127)
    assert "can't be run" in shell.run("lock", "l", "--", "/", code=126)
    shell.run("lock", "l", *python("import os; os.kill(os.getpid(), 9)"), code=137)
    shell.run("lock", "l", "--timeout", "0", "--", "true")


def test_who_waits_too_long_gives_up(shell: Shell) -> None:
    holder = shell.start("lock", "l", *python("print('has', flush=True); input()"))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "has\n"
    assert "lock l was not had within 0.2 s" in shell.run(
        "lock", "l", "--timeout", "0.2", "--", "true", code=75
    )
    holder.communicate("\n", timeout=20)
    assert holder.returncode == 0


def test_a_command_is_ended_with_all_that_it_started_when_the_lock_is_lost(
    shell: Shell, tmp_path: Path, until: Until
) -> None:
    text = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    holder = shell.start("lock", "l", "--seconds", "2", *python(text))
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    shell.take_away("l")
    _, err = holder.communicate(timeout=30)
    assert holder.returncode == 76
    assert "lock l is lost: the command is ended" in err
    until(
        lambda: (
            not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]
        )
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_the_lock_is_given_up(shell: Shell, number: int) -> None:
    text = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(9))\nprint('has', flush=True)\ntime.sleep(600)"
    )
    holder = shell.start("lock", "l", *python(text))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "has\n"
    holder.send_signal(number)
    holder.communicate(timeout=20)
    assert holder.returncode == 9
    shell.run("lock", "l", "--timeout", "0", "--", "true")


def test_nodes_are_set_read_listed_and_deleted(shell: Shell) -> None:
    version = int(shell.run("config", "set", "/db/host", "a.example"))
    assert shell.run("config", "get", "/db/host") == "a.example"
    shell.run("config", "set", "/db/text", "-", given="two\nlines\n")
    assert shell.run("config", "get", "/db/text") == "two\nlines\n"
    assert shell.run("config", "ls") == "db\n"
    assert shell.run("config", "ls", "/db") == "host\ntext\n"
    assert shell.run("config", "ls", "-r") == "/db/host\n/db/text\n"
    told = [json.loads(line) for line in shell.run("config", "ls", "--json").splitlines()]
    assert told[0] == {"path": "/db/host", "value": "a.example", "version": version, "ephemeral": False}
    assert "not at version 5" in shell.run("config", "set", "/db/host", "b", "--version", "5", code=1)
    shell.run("config", "set", "/db/host", "b", "--version", str(version))
    assert shell.run("config", "get", "/db/host", "--tree", "other", code=1).startswith(
        "error: /db/host is not there"
    )
    assert "recursive" in shell.run("config", "rm", "/db", code=1)
    shell.run("config", "rm", "-r", "/db")
    assert shell.run("config", "ls") == ""
    assert "begins with '/'" in shell.run("config", "get", "db", code=2)


def test_a_tree_is_taken_from_one_place_to_another(shell: Shell, tmp_path: Path) -> None:
    for path, value in {"/a": "1", "/b/ü": "text: with\nlines", "/c": ""}.items():
        shell.run("config", "set", path, value)
    text = shell.run("config", "export")
    (tmp_path / "all.yaml").write_text(text)
    assert shell.run("config", "import", "all.yaml") == "0 nodes changed, 0 nodes deleted, of 3 nodes\n"
    shell.run("config", "set", "/a", "2")
    shell.run("config", "set", "/more", "x")
    assert (
        shell.run("config", "import", "all.yaml", "--prune") == "1 node changed, 1 node deleted, of 3 nodes\n"
    )
    assert shell.run("config", "export") == text
    assert shell.run("config", "import", "-", given="/j: {port: 5}\n").startswith("1 node changed")
    assert shell.run("config", "get", "/j") == '{"port": 5}'
    for wrong in ("- a list", "a: [", "1: x", "no/path: x"):
        shell.run("config", "import", "-", given=wrong, code=2)


def test_a_watch_prints_what_there_is_and_what_happens(shell: Shell) -> None:
    shell.run("config", "set", "/a", "1")
    watch = shell.start("config", "watch")
    assert watch.stdout is not None
    assert watch.stdout.readline() == "created  /a  1\n"
    shell.run("config", "set", "/a", "2")
    assert watch.stdout.readline() == "changed  /a  2\n"
    shell.run("config", "rm", "/a")
    assert watch.stdout.readline() == "deleted  /a  2\n"
    watch.send_signal(signal.SIGINT)
    _, err = watch.communicate(timeout=20)
    assert (watch.returncode, err) == (130, "")
    assert "--depth all: it is node, children, subtree" in shell.run(
        "config", "watch", "--depth", "all", code=2
    )


def test_after_an_orderly_end_nothing_is_said_or_ended() -> None:
    """A lock that was given up is not held, either."""
    over, sent = threading.Event(), list[int]()
    over.set()
    _guard(SimpleNamespace(name="l", held=True), over, sent.append, 0)  # type: ignore[arg-type]
    assert sent == []
    _guard(SimpleNamespace(name="l", held=False), over, sent.append, 0)  # type: ignore[arg-type]
    assert sent == [signal.SIGTERM, signal.SIGKILL]
