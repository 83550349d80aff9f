"""What a schema or CEL can see of a wrong manifest, the API server refuses, and it names the field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.e2e.kube import kubectl

MANIFESTS = Path(__file__).parent.parent / "manifests"
WRONG = sorted((MANIFESTS / "wrong").glob("*.yaml"))
RIGHT = sorted((MANIFESTS / "right").iterdir())


def answers(folder: Path) -> dict[str, str]:
    """Return what kubectl says of the manifests of a folder, by name; nothing of those that are accepted."""
    words = ["apply", "-n", "default", "--dry-run=server", "--validate=strict", "-f", str(folder)]
    said = re.split(rf"{re.escape(str(folder))}/([\w.-]+)", kubectl(*words, code=None))
    return dict(zip(said[1::2], said[2::2], strict=True))


def lines(manifest: Path, prefix: str) -> list[str]:
    """Return what comes after a prefix in the comments of a manifest."""
    found = manifest.read_bytes().decode(errors="replace").split("\n")
    return [line.removeprefix(prefix) for line in found if line.startswith(prefix)]


def refused_by(manifest: Path) -> str:
    (who,) = lines(manifest, "# refused-by: ")
    return who


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    return answers(MANIFESTS / "wrong")


@pytest.mark.parametrize(
    "manifest", [path for path in WRONG if refused_by(path) != "client"], ids=lambda path: path.stem
)
def test_a_wrong_manifest_is_refused_and_the_field_named(said: dict[str, str], manifest: Path) -> None:
    answer = said.get(manifest.name)
    assert answer, "it was accepted"
    paths = [line.partition(" | ")[0] for line in lines(manifest, "# expect: ")]
    # (an unknown field hides all other faults)
    assert any(names(answer, path) for path in paths), answer


def test_right_manifests_are_accepted(tmp_path: Path) -> None:
    for path in RIGHT:
        text = re.sub(rb"(?m)^(\s+)namespace: \S+$", rb"\1namespace: default", path.read_bytes())
        (tmp_path / path.name).write_bytes(text)
    assert answers(tmp_path) == {}


def names(answer: str, path: str) -> bool:
    """Whether an answer names a field, in one of the ways in which kubectl and the API server write it."""
    if path == "apiVersion":
        return "apiVersion" in answer or "in version" in answer
    if path.startswith("metadata"):
        return any(word in answer for word in (path, "metadata.labels", "resource name", "metadata.name"))
    plain = re.sub(r"\['?|'?\]", ".", answer)
    return re.sub(r"\['?|'?\]", ".", path).rstrip(".") in plain
