"""The README's way on a cluster, command for command, but for `make deploy`, which was before."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.kube import Kube

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_block(kube: Kube, tmp_path: Path) -> Callable[..., list[str]]:
    """Run the commands of a page's block that begins so, in the namespace, and return what each printed."""
    config = tmp_path / "config"
    config.write_bytes(Path(os.environ["KUBECONFIG"]).read_bytes())
    environment = {
        **os.environ,
        "KUBECONFIG": str(config),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    words = ["kubectl", "config", "set-context", "--current", f"--namespace={kube.namespace}"]
    subprocess.run(words, env=environment, check=True, capture_output=True)

    def run(page: str, begins: str, skip: int = 0) -> list[str]:
        block = re.search(rf"```sh\n(\$ {begins}.*?)```", (ROOT / page).read_text(), re.DOTALL)
        assert block is not None
        said = []
        for line in block[1].splitlines()[skip:]:
            command = line.removeprefix("$ ").partition("  #")[0].replace("--watch", "")
            done = subprocess.run(
                command,
                shell=True,
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=180,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            said.append(done.stdout)
        return said

    return run


def test_the_commands_of_the_readme(kube: Kube, run_block: Callable[..., list[str]]) -> None:
    said = run_block("README.md", "make deploy", skip=1)
    assert "STATE" in said[2]
    assert re.search(r"[0-9,]+ +self", said[4])
    assert kube.all("jobs") == []


@pytest.mark.timeout(600)
def test_the_commands_of_the_page_of_filevolumes(kube: Kube, run_block: Callable[..., list[str]]) -> None:
    said = run_block("docs/filevolumes.md", "kubectl apply")
    assert re.search(r"texts +True +[34] ", said[2])
    assert '"' in said[7]
    assert "all is as it was written" in said[8]
