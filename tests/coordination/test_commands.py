"""`gristmill lock` and `gristmill config`, as people type them."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.conftest import Until
from tests.protocol.harness import Server

from gristmill.cli import locking
from gristmill.cli.locking import _Ended, _guard, _Signals
from gristmill.coordination import connect

#: letters that YAML reads as others where they are not quoted
ODD = [
    "\n",
    "\r",
    "\t",
    "\x00",
    "\x85",
    "\xa0",
    "\u2028",
    "\u2029",
    "\ufeff",
    "\ufffe",
    "\U0010ffff",
    "'",
    '"',
    "#",
]


class Shell:
    """Runs commands in a name space."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self.namespace = secrets.token_hex(4)
        self.environment = {**os.environ, "GRISTMILL_COORDINATION": server.url}

    def line(self, *words: str) -> list[str]:
        first = words[:2] if words[0] == "config" else words[:1]
        return [sys.executable, "-m", "gristmill", *first, "-n", self.namespace, *words[len(first) :]]

    def start(
        self, *words: str, before: Sequence[str] = (), terminal: int | None = None
    ) -> subprocess.Popen[str]:
        """Start a command in a session of its own, whose terminal is the one that is given, or none."""
        line = [*before, *self.line(*words)]

        def take() -> None:
            if terminal is not None:
                fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

        return subprocess.Popen(
            line, cwd=self._folder, env=self.environment, text=True, start_new_session=True, preexec_fn=take,  # noqa: PLW1509
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, code: int = 0, given: str = "") -> str:
        process = self.start(*words)
        out, err = process.communicate(given, timeout=60)
        assert process.returncode == code, (out, err)
        return out if code == 0 else err

    def record(self, lock: str) -> bytes:
        with self._server.connect() as raw:
            return bytes(raw.hget(f"gristmill:coordination:{{{self.namespace}}}:lock", lock) or b"")

    def take_away(self, lock: str) -> None:
        with self._server.connect() as raw:
            raw.hdel(f"gristmill:coordination:{{{self.namespace}}}:lock", lock)


@pytest.fixture
def shell(valkey: Server, tmp_path: Path) -> Shell:
    return Shell(valkey, tmp_path)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Return the ends of a terminal: that of who types, and that of programs."""
    typed, own = os.openpty()
    yield typed, own
    os.close(typed)
    os.close(own)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


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
    told = shell.run("lock", "l", "--timeout", "0.2", "--", "true", code=75)
    who = f"{re.escape(socket.gethostname()[:36])}-{holder.pid}-[-0-9a-f]+"
    assert re.fullmatch(
        rf"error: lock l was not had within 0.2 s: {who} has it, and has renewed it at 20\S+Z; "
        "if that has died, `--timeout 17` or more gets it\n",
        told,
    )
    holder.communicate("\n", timeout=20)
    assert holder.returncode == 0


@pytest.mark.parametrize("at_terminal", [False, True])
def test_a_command_is_ended_with_all_that_it_started_when_the_lock_is_lost(
    shell: Shell, until: Until, terminal: tuple[int, int], at_terminal: bool
) -> None:
    text = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)  # (that the terminal's session ends)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    at = terminal[1] if at_terminal else None
    holder = shell.start("lock", "l", "--seconds", "2", *python(text), terminal=at)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    shell.take_away("l")
    _, err = holder.communicate(timeout=30)
    assert holder.returncode == 76
    assert "lock l is lost: the command is ended" in err
    until(lambda: is_gone(child))


def test_a_command_is_ended_where_nobody_reads_that_the_lock_is_lost(shell: Shell, until: Until) -> None:
    holder = shell.start(
        "lock", "l", "--seconds", "2", *python("import os; print(os.getpid(), flush=True); input()")
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stderr is not None
        command = int(holder.stdout.readline())
        holder.stderr.close()
        shell.take_away("l")
        until(lambda: is_gone(command))
    assert holder.returncode == 76


def test_at_a_terminal_the_command_is_of_the_group_that_its_keys_are_for(
    shell: Shell, terminal: tuple[int, int]
) -> None:
    """Wherever input comes from: Ctrl-Z stops both, and not only who holds the lock."""
    text = "import os; print(os.getpgrp(), flush=True); input()"
    for at, same in ((terminal[1], True), (None, False)):
        holder = shell.start("lock", "l", *python(text), terminal=at)
        assert holder.stdout is not None
        assert (int(holder.stdout.readline()) == holder.pid) == same
        holder.communicate("\n", timeout=20)
        assert holder.returncode == 0


def test_ctrl_c_at_a_terminal_reaches_the_command_once(shell: Shell, terminal: tuple[int, int]) -> None:
    text = (
        "import signal, time; heard = []; signal.signal(signal.SIGINT, lambda *_: heard.append(1))\n"
        "print('has', flush=True); time.sleep(0) if input() else 0; print(len(heard)); raise SystemExit(9)"
    )
    typed, own = terminal
    holder = shell.start("lock", "l", *python(text), terminal=own)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "has\n"
    os.write(typed, b"\x03")
    os.read(typed, 2)  # (^C: it has been heard)
    out, _ = holder.communicate("\n", timeout=20)
    assert (holder.returncode, out) == (9, "1\n")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it")
def test_a_command_does_not_outlive_who_holds_its_lock(shell: Shell, until: Until) -> None:
    holder = shell.start("lock", "l", *python("import os; print(os.getpid(), flush=True); input()"))
    assert holder.stdout is not None
    command = int(holder.stdout.readline())
    holder.kill()
    until(lambda: is_gone(command))
    holder.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_is_ended_while_they_wait_does_not_wait_any_more(
    shell: Shell, until: Until, number: signal.Signals
) -> None:
    holder = shell.start("lock", "l", *python("print('has', flush=True); input()"))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "has\n"
    waiter = shell.start("lock", "l", "--", "true")
    until(lambda: b"waiter-" in shell.record("l"))
    waiter.send_signal(number)
    assert waiter.communicate(timeout=20) == ("", "")
    assert waiter.returncode == 128 + number
    assert b"waiter-" not in shell.record("l")
    holder.communicate("\n", timeout=20)


def test_a_signal_that_comes_before_the_command_runs_is_for_the_command() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    sent: list[int] = []
    try:
        signals = _Signals()
        signals.hear()
        signals.keep()
        signal.raise_signal(signal.SIGINT)
        signals.pass_to(sent.append)
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert sent == [signal.SIGINT, signal.SIGTERM]


def test_of_signals_that_come_together_one_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that is raised cuts off what gives up what there is; so none is right after the command has ended."""
    now, signals = [0.0], _Signals()
    monkeypatch.setattr(locking, "monotonic", lambda: now[0])
    ended = list[float]()
    for now[0] in (5.0, 5.0, 5.5, 5.9, 6.1, 6.2, 7.2, 9.0, 9.5, 10.1):
        if now[0] == 9.0:
            signals.keep()
            signals.end_waits()
        try:
            signals._hear(signal.SIGINT, None)
        except _Ended:
            ended.append(now[0])
    assert ended == [5.0, 6.1, 7.2, 10.1]


LATE = """
import os, signal, sys
from gristmill.cli.locking import run_locked
words = [sys.executable, "-c", "raise SystemExit(7)"]
code = run_locked("l", words, timeout=0, seconds=15, url=sys.argv[1], namespace=sys.argv[2], context=None)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.raise_signal(number)
sys.exit(code)
"""


def test_a_signal_that_comes_when_all_is_over_changes_nothing(shell: Shell, valkey: Server) -> None:
    words = [sys.executable, "-c", LATE, valkey.url, shell.namespace]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (7, "")


def test_who_can_t_tell_an_error_can_be_ended(shell: Shell) -> None:
    line = shell.line("lock", "--url", "redis://127.0.0.1:1", "l", "--timeout", "0", "--", "true")
    with unread(line, shell.environment) as holder:
        with pytest.raises(subprocess.TimeoutExpired):
            holder.wait(3)
        holder.send_signal(signal.SIGTERM)
        assert holder.wait(10) == 128 + signal.SIGTERM


def test_a_signal_that_who_holds_the_lock_ignores_is_ignored_by_the_command(shell: Shell) -> None:
    text = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, flush=True); input()"
    holder = shell.start("lock", "l", *python(text), before=["nohup"])
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    holder.send_signal(signal.SIGHUP)
    holder.communicate("\n", timeout=20)
    assert holder.returncode == 0


def test_the_exit_code_is_the_command_s_also_where_the_end_of_children_is_ignored(shell: Shell) -> None:
    ignore = "signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    before = [sys.executable, "-c", f"import os, signal, sys; {ignore}"]
    holder = shell.start("lock", "l", *python("raise SystemExit(7)"), before=before)
    holder.communicate(timeout=20)
    assert holder.returncode == 7


def with_plugin(folder: Path, *lines: str) -> dict[str, str]:
    """Return an environment whose kube config logs in by a plugin that does something, and prints a token."""
    plugin, version = folder / "plugin", "client.authentication.k8s.io/v1"
    told = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": "t"}}
    plugin.write_text("\n".join(["#!/bin/sh", *lines, f"echo '{json.dumps(told)}'\n"]))
    plugin.chmod(0o700)
    user = {"exec": {"apiVersion": version, "command": str(plugin), "interactiveMode": "Never"}}
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": user}],
        "current-context": "a",
    }
    (folder / "config").write_text(json.dumps(config))
    return {**os.environ, "KUBECONFIG": str(folder / "config")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("words", [("lock", "l", "--", "true"), ("config", "ls"), ("config", "watch")])
def test_a_login_s_plugin_ends_with_the_command_that_a_signal_ends(
    tmp_path: Path, until: Until, words: Sequence[str], number: signal.Signals
) -> None:
    pid = tmp_path / "pid"
    environment = with_plugin(tmp_path, f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600")
    line = [sys.executable, "-m", "gristmill", *words]
    process = subprocess.Popen(line, env=environment, text=True, stderr=subprocess.PIPE)
    try:
        until(pid.exists)
        process.send_signal(number)
        process.wait(20)
        assert is_gone(int(pid.read_text()))
        assert process.communicate()[1] == ""
        assert process.returncode == 128 + number
    finally:
        process.kill()
        if pid.exists() and not is_gone(plugin := int(pid.read_text())):
            os.kill(plugin, signal.SIGKILL)


@pytest.mark.parametrize("words", [("lock", "l", "--", "true"), ("config", "ls")])
def test_a_login_s_plugin_is_believed_also_where_the_end_of_children_is_ignored(
    tmp_path: Path, words: Sequence[str]
) -> None:
    environment = with_plugin(tmp_path)
    ignore = "signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    before = [sys.executable, "-c", f"import os, signal, sys; {ignore}", sys.executable, "-m", "gristmill"]
    timeout = ["--timeout", "0"] if words[0] == "lock" else []
    line = [*before, *words[:2], *timeout, *words[2:]]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.startswith("error: the API server does not answer: ")


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root runs programs as another user"
)
def test_the_lock_of_a_command_that_may_not_be_signalled_is_held_until_it_ends(shell: Shell) -> None:
    command = ("--", "setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", "echo has; read line")
    holder = shell.start("lock", "l", "--seconds", "2", *command, before=["setpriv", "--bounding-set=-kill"])
    assert holder.stdout is not None
    assert holder.stderr is not None
    assert holder.stdout.readline() == "has\n"
    holder.send_signal(signal.SIGTERM)
    assert "can't be sent a signal; the lock is held until it ends" in holder.stderr.readline()
    assert shell.record("l")
    shell.take_away("l")
    assert "lock l is lost: it was taken away" in holder.stderr.readline()
    assert "lock l is lost: the command is ended" in holder.stderr.readline()
    assert "it goes on without the lock: end process" in holder.stderr.readline()
    assert holder.communicate("\n", timeout=20) == ("", "")
    assert holder.returncode == 76


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
    assert "/db has nodes below it: --recursive deletes them" in shell.run("config", "rm", "/db", code=1)
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
    for wrong in (
        "- a list",
        "a: [",
        "1: x",
        "no/path: x",
        "/a: 1\n/a: 2",
        "/a: [!!int foo]",
        "/a: [!!bool foo]",
        "/a: [!!int '']",
        "/a: {b: 1, c: [{d: 1, d: 2}]}",
        "/a: {true: 1, 'true': 2}",
        '/a: !!binary "@@@"',
        "/a: !!binary YQ",
    ):
        shell.run("config", "import", "-", given=wrong, code=2)
    assert "/a: the key d is there twice" in shell.run(
        "config", "import", "-", given="/a: [{d: 1, d: 2}]", code=2
    )
    assert "/a: what is tagged as binary is no base64" in shell.run(
        "config", "import", "-", given="/a: !!binary '@@@'", code=2
    )


@pytest.mark.parametrize(
    "text", ["1.10", "0123", "", "null", "yes", "1e3", "2026-13-45", "2026-01-02", "0x10"]
)
def test_text_is_imported_as_it_is_written(shell: Shell, text: str) -> None:
    shell.run("config", "import", "-", given=f"/v: {text}\n")
    assert shell.run("config", "get", "/v") == text
    shell.run("config", "import", "-", given="/v: {a: 1.5, b: 2026-01-02, c: [x, null]}\n")
    assert json.loads(shell.run("config", "get", "/v")) == {"a": 1.5, "b": "2026-01-02", "c": ["x", None]}


def test_in_a_list_is_text_what_is_no_json(shell: Shell) -> None:
    """Numbers with a zero before them above all, which YAML 1.1 reads to the base of eight."""
    given = "/v: [010, 0x10, 1_000, 1:30, yes, '1', -5, 1.5, 1e3, 0, true, False, ~, &a {x: 1}, *a, {<<: *a, y: 2}]\n"
    shell.run("config", "import", "-", given=given)
    texts = ["010", "0x10", "1_000", "1:30", "yes", "1"]
    others = [-5, 1.5, 1000.0, 0, True, False, None, {"x": 1}, {"x": 1}, {"x": 1, "y": 2}]
    assert json.loads(shell.run("config", "get", "/v")) == [*texts, *others]


def test_letters_are_printed_as_utf_8_whatever_the_terminal_has(
    shell: Shell,
) -> None:
    shell.run("config", "set", "/ä", "-", given="ö")
    shell.environment |= {"PYTHONIOENCODING": "ascii"}
    assert shell.run("config", "ls") == "ä\n"
    assert shell.run("config", "export") == "/ä: ö\n"
    assert json.loads(shell.run("config", "get", "/ä", "--json"))["value"] == "ö"
    watch = shell.start("config", "watch")
    with watch:
        assert watch.stdout is not None
        assert watch.stdout.readline() == "created  /ä  ö\n"
        watch.send_signal(signal.SIGINT)


def test_a_value_that_is_no_text_is_told_or_printed_in_another_way(shell: Shell, valkey: Server) -> None:
    assert "/a: the value is no text (UTF-8)" in shell.run("config", "set", "/a", "\udce9", code=1)
    with connect(valkey.url, namespace=shell.namespace) as client:
        made = client.tree("config").set("/a", b"\xff\x00")
    told = {"path": "/a", "base64": "/wA=", "version": made.version, "ephemeral": False}
    assert json.loads(shell.run("config", "get", "/a", "--json")) == told
    assert json.loads(shell.run("config", "ls", "--json")) == told


@pytest.mark.parametrize("words", [("get", "/a"), ("ls", "--json"), ("export",)])
def test_output_that_is_cut_short_is_an_error(shell: Shell, tmp_path: Path, words: Sequence[str]) -> None:
    shell.run("config", "set", "/a", "-", given="x" * 5000)
    full = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "os.dup2(os.open('out', os.O_WRONLY | os.O_CREAT), 1); os.execv(sys.argv[1], sys.argv[1:])"
    )
    shell.environment |= {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    process = shell.start("config", *words, before=[sys.executable, "-c", full])
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "error: File too large\n")
    assert (tmp_path / "out").stat().st_size <= 4096


def test_of_an_import_with_one_value_that_is_too_large_nothing_is_written(shell: Shell) -> None:
    large = "x" * (1 << 20)
    told = shell.run("config", "import", "-", given=f"/a: 1\n/b: {large}\n/c: 1\n", code=1)
    assert "/b: a value of 1,048,576 bytes is too large" in told
    assert shell.run("config", "ls", "-r") == ""


@pytest.mark.parametrize(
    "url", ["localhost:6379", "http://x", "redis://localhost:port", "redis://localhost/0?foo=1"]
)
def test_a_wrong_address_is_told(shell: Shell, url: str) -> None:
    for words in (("lock", "l", "--", "true"), ("config", "ls")):
        told = shell.run(*words[:1], *words[1:2], "--url", url, *words[2:], code=2)
        assert "write redis://HOST:PORT" in told


def test_what_is_imported_is_what_was_exported_to_the_last_letter(shell: Shell, valkey: Server) -> None:
    values = [
        f"{before}{letter}{after}" for letter in ODD for before in ("", "a", " ") for after in ("", "b")
    ]
    with connect(valkey.url, namespace=shell.namespace) as client:
        for number, value in enumerate(values):
            client.tree("config").set(f"/v/{number}", value)
        client.tree("config").set("/p/ü: '#", b"\xff")
    text = shell.run("config", "export")
    shell.run("config", "import", "-", "--tree", "other", given=text)
    with connect(valkey.url, namespace=shell.namespace) as client:
        there = [{node.path: node.value for node in client.tree(name).walk()} for name in ("config", "other")]
    assert there[0] == there[1]
    assert len(there[0]) == len(values) + 1


def test_an_empty_file_deletes_no_tree(shell: Shell, tmp_path: Path) -> None:
    shell.run("config", "set", "/a/b", "1")
    for empty in ("", "{}", "# nothing\n"):
        told = shell.run("config", "import", "-", "--prune", given=empty, code=2)
        assert "- is empty: `gristmill config rm -r /` deletes the whole tree" in told
        assert shell.run("config", "import", "-", given=empty).startswith("0 nodes changed")
    assert shell.run("config", "ls", "-r") == "/a/b\n"
    shell.run("config", "rm", "-r", "/")
    assert shell.run("config", "ls", "-r") == ""


def test_what_is_ephemeral_stays_below_a_node_that_is_pruned(shell: Shell, valkey: Server) -> None:
    for path in ("/x", "/y", "/z"):
        shell.run("config", "set", path, "1")
    with connect(valkey.url, namespace=shell.namespace) as client:
        client.tree("config").create("/y/e", ephemeral=True)
        told = shell.run("config", "import", "-", "--prune", given="/k: v\n")
        assert told == "1 node changed, 3 nodes deleted, of 1 node\n"
        assert shell.run("config", "ls", "-r") == "/k\n/y/e\n"


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


THREADLESS = """
import threading
from gristmill.cli import locking, main
start = threading.Thread.start
def full(thread):
    if thread.name == locking.GUARD:
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = full
main.main()
"""


def test_no_command_runs_where_no_thread_is_to_be_had_that_looks_at_its_lock(shell: Shell) -> None:
    line = shell.line("lock", "l", "--", "echo", "runs")
    words = [line[0], "-c", THREADLESS, *line[3:]]
    done = subprocess.run(
        words, env=shell.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == "error: no thread can be had now: can't start new thread\n"
    assert (done.returncode, done.stdout) == (1, "")
    assert not shell.record("l")


def test_a_command_that_can_t_be_one_leaves_nothing_that_looks_at_its_lock(
    shell: Shell, valkey: Server, until: Until
) -> None:
    with connect(valkey.url, namespace=shell.namespace) as client, client.lock("l") as lock:
        with pytest.raises(ValueError, match="null byte"):
            locking._run(lock, ["a\0"], 15, _Signals())
        until(lambda: locking.GUARD not in [thread.name for thread in threading.enumerate()])


@contextmanager
def unread(line: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a program whose standard error is a pipe that is full, and that nobody empties."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    to_pipe = f"os.dup2({writer}, 2); os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", f"import os, sys; {to_pipe}", *line],
        env=environment, stdout=subprocess.PIPE, text=True, pass_fds=[writer],
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        os.close(reader)
        os.close(writer)


def test_the_command_of_a_lost_lock_is_ended_though_nobody_reads_what_is_said_of_it(shell: Shell) -> None:
    line = shell.line("lock", "l", "--seconds", "4", "--", "sh", "-c", "echo has; exec sleep 600")
    with unread(line, shell.environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "has\n"
        shell.take_away("l")
        assert holder.communicate(timeout=20) == ("", None)  # (its standard output is closed: it has ended)
        assert holder.returncode == 76


def test_the_lock_for_a_command_that_is_not_there_is_given_up_though_nobody_reads_that(shell: Shell) -> None:
    with unread(shell.line("lock", "l", "--", "/nothing"), shell.environment) as holder:
        assert holder.wait(20) == 127
        assert not shell.record("l")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_gives_the_lock_up_at_a_server_that_is_away_can_be_ended(
    own_valkey: Server, tmp_path: Path, until: Until, number: signal.Signals
) -> None:
    shell = Shell(own_valkey, tmp_path)
    text = "import os; print(os.getpid(), flush=True); raise SystemExit(int(input()))"
    holder = shell.start("lock", "l", "--seconds", "120", *python(text))
    try:
        assert holder.stdin is not None
        assert holder.stdout is not None
        command = int(holder.stdout.readline())
        own_valkey.send(signal.SIGKILL)
        holder.stdin.write("7\n")
        holder.stdin.flush()
        until(lambda: is_gone(command))
        with pytest.raises(subprocess.TimeoutExpired):
            holder.wait(2)
        holder.send_signal(number)
        holder.communicate(timeout=10)
        assert holder.returncode == 7
    finally:
        holder.kill()
        holder.communicate()


class Waits(threading.Event):
    """An end of a command that does not come until it was waited for three times; no time passes."""

    def __init__(self, lock: SimpleNamespace) -> None:
        super().__init__()
        self._lock = lock
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.seconds.append(timeout)
        self._lock.held = False
        return len(self.seconds) == 4


def test_the_time_to_end_begins_when_the_lock_was_lost_and_not_when_that_was_seen() -> None:
    lock, sent = SimpleNamespace(name="l", held=True), list[int]()
    over = Waits(lock)
    _guard(lock, over, sent.append, 0.4)  # type: ignore[arg-type]
    assert sum(over.seconds[:2]) == pytest.approx(0.4)
    assert sent == [signal.SIGTERM, signal.SIGKILL, signal.SIGKILL]  # (until it has ended)


@pytest.mark.parametrize("text", ["", "foo", "contexts: 3", "a: ["])
def test_a_kube_config_that_is_none_is_told(shell: Shell, tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "config")}
    words = [sys.executable, "-m", "gristmill", "config", "ls"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is nowhere to coordinate: no cluster (")
