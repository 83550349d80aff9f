"""The README's tour, run as it is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```(\w+)(?: file=(\S+))?\n(.*?)```", re.DOTALL)


@pytest.mark.timeout(300)
def test_the_tour_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    commands = 0
    for language, name, text in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        if name:
            (tmp_path / name).write_text(text, encoding="utf-8")
        elif language == "console":
            for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, shown = step.partition("\n")
                done = subprocess.run(
                    ["bash", "-o", "pipefail", "-c", command],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
                assert done.returncode == 0, (command, done.stdout, done.stderr)
                if shown.strip():
                    assert done.stdout.strip() == shown.strip(), command
                commands += 1
        elif language == "python":
            done = subprocess.run(
                [sys.executable, "-c", text],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert float(done.stdout) == pytest.approx(666_666_166.459, abs=0.01)
            commands += 1
    assert commands >= 7


def test_every_field_of_the_manifest_is_in_its_page() -> None:
    from gristmill.api.crd import make_crd

    page = (ROOT / "docs" / "manifest.md").read_text(encoding="utf-8")
    schema = make_crd("ChunkJob")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]

    def names(node: dict) -> list[str]:
        found = list(node.get("properties", {}))
        return found + [name for child in node.get("properties", {}).values() for name in names(child)]

    assert [name for name in names(schema) if name not in page] == []
