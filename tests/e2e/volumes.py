"""FileVolumes as the tests have them, and `gristmill volume` as people type it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from tests.e2e.kube import Kube, until

#: seconds for what takes pods, and perhaps a repair, which begins after half a minute
PATIENCE = 240.0
#: as small as one can be that has a copy more than it must
SMALL = {"copies": 2, "servers": 3}


def file_volume(name: str = "files", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "gristmill.dev/v1alpha1",
        "kind": "FileVolume",
        "metadata": {"name": name},
        "spec": {"storage": "1Gi", "filer": {"size": "256Mi"}, **spec},
    }


def condition(kube: Kube, kind: str) -> dict[str, Any]:
    found = (kube.get("fvol", "files") or {}).get("status", {})
    return next((one for one in found.get("conditions", ()) if one["type"] == kind), {})


def await_ready(kube: Kube) -> None:
    until(lambda: condition(kube, "Ready").get("status") == "True", PATIENCE)


def await_whole(kube: Kube, servers: int) -> None:
    """Wait until so many servers are there, and nothing lacks copies."""

    def whole() -> bool:
        status = (kube.get("fvol", "files") or {}).get("status", {})
        known = status.get("servers") == servers and status.get("underReplicated") == 0
        return known and condition(kube, "Degraded").get("status") == "False"

    until(whole, PATIENCE)


def lose_server(kube: Kube, number: int) -> None:
    """Kill a server, and take its disk."""
    kube.ctl("delete", "pvc", f"data-files-server-{number}", "--wait=false")
    kube.ctl("delete", "pod", f"files-server-{number}", "--grace-period=0", "--force")


def holder(kube: Kube, servers: int = 4) -> int:
    """Return the number of a server that has copies: a few files are not on all."""
    for number in range(servers):
        if ".dat" in kube.ctl("exec", f"files-server-{number}", "--", "ls", "/data"):
            return number
    raise AssertionError("no server has a file")


def volume(*words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `gristmill volume`."""
    done = subprocess.run(
        [sys.executable, "-m", "gristmill", "volume", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == code, done
    return done
