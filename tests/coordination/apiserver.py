"""An etcd and an API server of one's own, which may be killed, stopped and made to forget; and etcd's log of writes.

    python -m tests.coordination.apiserver FOLDER

runs one until Ctrl-C, with a kubeconfig in FOLDER, and a garbage collector where there is a kube-controller-manager.
The programs are those of $KUBEBUILDER_ASSETS, else of the PATH.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 90.0
ADMIN, NOBODY = "admin", "nobody"
_HOST = "127.0.0.1"


def programs() -> tuple[str, str] | None:
    """Return the paths of etcd and kube-apiserver, or None where there are none."""
    etcd, server = (_program(name) for name in ("etcd", "kube-apiserver"))
    return (etcd, server) if etcd and server else None


def _program(name: str) -> str | None:
    folders = filter(None, [os.environ.get("KUBEBUILDER_ASSETS"), os.environ.get("PATH")])
    return shutil.which(name, path=os.pathsep.join(folders))


class ApiServer:
    """A cluster's API server without the cluster. `admin` may do everything, `nobody` nothing."""

    def __init__(self, folder: Path, etcd: str, server: str, *, safe: bool = False) -> None:
        self._folder = folder
        self._token = secrets.token_hex(16)
        self.port, self._etcd_port, peers = _free_ports(3)
        self._etcd_url = f"http://{_HOST}:{self._etcd_port}"
        etcd_words = [
            *(etcd, "--data-dir", str(folder / "etcd"), "--log-level", "error"),
            *("--listen-client-urls", self._etcd_url, "--advertise-client-urls", self._etcd_url),
            *("--listen-peer-urls", f"http://{_HOST}:{peers}"),
            *([] if safe else ["--unsafe-no-fsync"]),
        ]
        key = folder / "key.pem"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        (folder / "tokens").write_text(
            f"{self._token},{ADMIN},1,system:masters\n{self._token}-none,{NOBODY},2,\n"
        )
        self._words = [
            *(server, "--etcd-servers", self._etcd_url, "--cert-dir", str(folder / "certificates")),
            *("--bind-address", _HOST, "--advertise-address", _HOST, "--secure-port", str(self.port)),
            *("--service-cluster-ip-range", "10.0.0.0/24", "--authorization-mode", "RBAC"),
            *("--token-auth-file", str(folder / "tokens"), "--service-account-issuer", "https://here"),
            *("--service-account-key-file", str(key), "--service-account-signing-key-file", str(key)),
            # (so that the log of what was written can be read, and is there)
            *([] if safe else ["--storage-media-type", "application/json"]),
            *("--etcd-compaction-interval", "0"),
        ]
        self._collector: subprocess.Popen[bytes] | None = None
        self._etcd = self._run(etcd_words)
        self.start()

    def start(self) -> None:
        """Start the API server, and wait until it answers."""
        self._server = self._run(self._words)
        _wait(self._ready, f"the API server does not start: see {self._folder}/log")

    def kill(self) -> None:
        """End the API server at once."""
        self._server.kill()
        self._server.wait()

    def send(self, number: signal.Signals) -> None:
        """Send the API server a signal: SIGSTOP and SIGCONT."""
        self._server.send_signal(number)

    def forget(self) -> None:
        """Kill the API server, make etcd forget all that is not the case any more, and start it again."""
        self.kill()
        self._ask_etcd("compaction", {"revision": str(self.revision()), "physical": True})
        self.start()

    def collect_garbage(self) -> None:
        """Delete what is owned by, or in, what is gone, where there is a kube-controller-manager to do it."""
        if (manager := _program("kube-controller-manager")) is not None:
            words = [
                "--controllers",
                "garbage-collector-controller,namespace-controller",
                "--leader-elect=false",
                "--secure-port=0",
            ]
            self._collector = self._run([manager, "--kubeconfig", str(self.config()), *words])

    def close(self) -> None:
        """End all."""
        if self._collector is not None:
            self._collector.kill()
            self._collector.wait()
        self.kill()
        self._etcd.kill()
        self._etcd.wait()

    def revision(self) -> int:
        """Return the revision of the last write to etcd."""
        return int(self._ask_etcd("range", {"key": _coded("x")})["header"]["revision"])

    def config(self, user: str = ADMIN, port: int | None = None, namespace: str = "default") -> Path:
        """Return a kubeconfig of a user, for the API server at another port."""
        cluster = {"server": f"https://{_HOST}:{port or self.port}", "insecure-skip-tls-verify": True}
        token = self._token if user == ADMIN else f"{self._token}-none"
        context = {"cluster": "own", "user": user, "namespace": namespace}
        path = self._folder / f"{user}-{port or self.port}-{namespace}.kubeconfig"
        text = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "own", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "own", "context": context}],
            "current-context": "own",
        }
        path.write_text(json.dumps(text))
        return path

    def make_namespace(self) -> str:
        """Make a namespace, and return its name."""
        name = f"n-{secrets.token_hex(4)}"
        status, said = self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert status == 201, said
        return name

    def watches(self, resource: str) -> int:
        """Return how many watches of a resource the API server serves now."""
        _, said = self.call("GET", "/metrics")
        lines = [line for line in said.splitlines() if line.startswith("apiserver_longrunning_requests{")]
        mine = [line for line in lines if f'resource="{resource}"' in line and 'verb="WATCH"' in line]
        return sum(int(float(line.rpartition(" ")[2])) for line in mine)

    def log(self, resource: str, namespace: str) -> WriteLog:
        """Return the log of what is written to the objects of a resource in a namespace from now on."""
        return WriteLog(_HOST, self._etcd_port, f"/registry/{resource}/{namespace}/", self.revision())

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Ask the API server as its administrator."""
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(_HOST, self.port, timeout=PATIENCE, context=context)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _ready(self) -> bool:
        assert self._server.poll() is None, f"the API server has ended: see {self._folder}/log"
        with suppress(OSError, http.client.HTTPException):
            return self.call("GET", "/readyz")[0] == 200
        return False

    def _run(self, words: list[str]) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(words, stdout=log, stderr=log)

    def _ask_etcd(self, what: str, body: Any) -> Any:
        connection = http.client.HTTPConnection(_HOST, self._etcd_port, timeout=PATIENCE)
        try:
            connection.request("POST", f"/v3/kv/{what}", json.dumps(body))
            answer = connection.getresponse()
            said = answer.read().decode()
            assert answer.status == 200, said
            return json.loads(said)
        finally:
            connection.close()


@dataclass(frozen=True)
class Write:
    """A write, as etcd has it: to an object of a name, at a revision; None where that deleted it."""

    revision: int
    name: str
    found: dict[str, Any] | None


class WriteLog:
    """All writes below a key in their order, from etcd itself: whatever becomes of the API server and its watches."""

    def __init__(self, host: str, port: int, prefix: str, revision: int) -> None:
        self._prefix = prefix
        self._writes: list[Write] = []
        self._news = threading.Condition()
        self._connection = http.client.HTTPConnection(host, port)
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        asked = {
            "key": _coded(prefix),
            "range_end": _coded(end),
            "start_revision": str(revision + 1),
            "progress_notify": True,
        }
        self._connection.request("POST", "/v3/watch", json.dumps({"create_request": asked}))
        self._answer = self._connection.getresponse()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def until(self, revision: int) -> list[Write]:
        """Return all writes up to a revision, which was one."""
        with self._news:
            there = self._news.wait_for(
                lambda: bool(self._writes) and self._writes[-1].revision >= revision, PATIENCE
            )
            assert there, f"etcd has not told of revision {revision}"
            return [one for one in self._writes if one.revision <= revision]

    def close(self) -> None:
        """Read no more."""
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()

    def _read(self) -> None:
        with suppress(OSError, http.client.HTTPException, ValueError):
            for line in self._answer:
                for event in json.loads(line)["result"].get("events", ()):
                    self._note(event)

    def _note(self, event: dict[str, Any]) -> None:
        kept = event["kv"]
        deleted = event.get("type") == "DELETE"
        name = base64.b64decode(kept["key"]).decode().removeprefix(self._prefix)
        found = None if deleted else json.loads(base64.b64decode(kept["value"]))
        with self._news:
            self._writes.append(Write(int(kept["mod_revision"]), name, found))
            self._news.notify_all()


class Line:
    """A line to the API server that can be cut, and be dead for a time."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.dead = False

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._begin, _HOST, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.dead = True
        self.cut()
        if self._serving:
            await asyncio.wait(self._serving)

    def cut(self) -> int:
        """Cut all connections; return how many there were."""
        cut = len(self._open)
        for writer in self._open:
            writer.transport.abort()
        return cut

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.dead:
            writer.transport.abort()
            return
        try:
            from_server, to_server = await asyncio.open_connection(_HOST, self._to)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, to_server}
        self._open |= ends
        ways = [
            asyncio.create_task(_pass(reader, to_server)),
            asyncio.create_task(_pass(from_server, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)
        self._open -= ends
        for end in ends:
            end.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


def _wait(condition: Callable[[], bool], why: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, why
        time.sleep(0.05)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server((_HOST, 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def main() -> None:
    """Run an API server as one for people: what is written is written to the disk."""
    found = programs()
    if found is None:
        raise SystemExit("error: there are no etcd and kube-apiserver in $KUBEBUILDER_ASSETS or on the PATH")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    server = ApiServer(folder, *found, safe=True)
    server.collect_garbage()
    print(f"KUBECONFIG={server.config()}", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    server.close()


if __name__ == "__main__":
    main()
