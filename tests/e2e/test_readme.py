"""The README's way on a cluster, command for command, but for `make deploy`, which was before."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.e2e.kube import Kube

ROOT = Path(__file__).parents[2]


def test_the_commands_of_the_readme(kube: Kube, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_bytes(Path(os.environ["KUBECONFIG"]).read_bytes())
    environment = {
        **os.environ,
        "KUBECONFIG": str(config),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    words = ["kubectl", "config", "set-context", "--current", f"--namespace={kube.namespace}"]
    subprocess.run(words, env=environment, check=True, capture_output=True)
    block = re.search(r"```sh\n(\$ make deploy.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    said = []
    for line in block[1].splitlines()[1:]:
        command = line.removeprefix("$ ").partition("  #")[0].replace("--watch", "")
        done = subprocess.run(
            command,
            shell=True,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        said.append(done.stdout)
    assert "STATE" in said[2]
    assert re.search(r"[0-9,]+ +self", said[4])
    assert kube.all("jobs") == []
