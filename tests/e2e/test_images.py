"""What users build on the worker's image: the README's lines, by the docker that has made the image."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.protocol.harness import in_ci

README = Path(__file__).parents[2] / "README.md"
#: bytes that the worker's image may have above its base
MOST_BYTES = 400 << 20


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """Return the README's Dockerfile."""
    if shutil.which("docker") is None:
        (pytest.fail if in_ci() else pytest.skip)("there is no docker")
    text = README.read_text(encoding="utf-8")
    return text[text.index("FROM ghcr.io/gristmill/worker") :].partition("```")[0].splitlines()


@pytest.fixture(scope="module")
def image(lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("image")
    (folder / "mycode").mkdir()
    (folder / "mycode" / "mine.py").write_text("def f(x):\n    return x + 1\n")
    (folder / "Dockerfile").write_text("\n".join(lines))
    name = f"gristmill-test-{secrets.token_hex(4)}"
    docker("build", "-q", "-t", name, str(folder))
    yield name
    docker("image", "rm", "-f", name)


def test_three_lines_make_an_image_of_ones_own(lines: list[str], image: str) -> None:
    assert len(lines) == 3
    run = ("run", "--rm", "--read-only", "--network=none", "--entrypoint", "python", image, "-c")
    assert docker(*run, "import mine; print(mine.f(1))") == "2\n"
    assert docker(*run, "import os, gristmill; print(os.getuid() > 0)") == "True\n"


def test_the_workers_image_is_small_and_has_no_operator(lines: list[str]) -> None:
    name = lines[0].split()[1]
    layers = docker("history", "--human=false", "--format", "{{json .}}", name).splitlines()
    ours = [json.loads(layer) for layer in layers]
    assert sum(int(layer["Size"]) for layer in ours[: _above_base(ours)]) < MOST_BYTES
    found = docker(
        "run",
        "--rm",
        "--entrypoint",
        "python",
        name,
        "-c",
        "import sys\ntry:\n import kopf\nexcept ImportError:\n print('none')",
    )
    assert found == "none\n"


def _above_base(layers: list[dict[str, str]]) -> int:
    """Return how many layers are ours: those up to the one that makes the user."""
    return next(n for n, layer in enumerate(layers) if "useradd" in layer["CreatedBy"]) + 1
