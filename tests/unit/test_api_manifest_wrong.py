"""Each wrong manifest is refused in under a second with the field's path and a sentence."""

from __future__ import annotations

import gc
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.api.manifest import load_manifest, load_resource
from gristmill.errors import ManifestError

WRONG = Path(__file__).parent.parent / "manifests" / "wrong"
RIGHT = WRONG.parent / "right"
EVERYTHING = ("everything.yaml", "template.yaml", "cache-everything.yaml", "filevolume-everything.yaml")
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
HEAD = "apiVersion: gristmill.dev/v1alpha1\nkind: ChunkJob\nmetadata: {name: wrong}\nspec:\n"
LIBRARY_WORDING = re.compile(
    r"pydantic|__root__|Value error|Input should|Field required|Extra inputs|Traceback|is not valid, got",
)


def expectations(manifest: Path) -> list[tuple[str, str]]:
    """Return the (path, fragment) pairs of the comments that a manifest begins with."""
    found = []
    for line in manifest.read_bytes().split(b"\n"):
        if not line.startswith(b"# expect: "):
            return found
        path, _, fragment = line.decode().removeprefix("# expect: ").partition(" | ")
        found.append((path, fragment))
    return found


def refuse(source: str | Path, load: Callable[[str | Path], object] = load_manifest) -> list[str]:
    """Return the problems of a manifest; fail if finding them takes a second of the processor.

    The heap of the tests is kept out of the garbage collector's way, and a busy machine gets three tries.
    """
    gc.freeze()
    try:
        for _ in range(3):
            before = time.process_time()
            with pytest.raises(ManifestError) as caught:
                load(source)
            if (seconds := time.process_time() - before) < 1:
                break
    finally:
        gc.unfreeze()
    assert seconds < 1
    assert caught.value.exit_code == 2
    for problem in caught.value.problems:
        assert not LIBRARY_WORDING.search(problem)
        assert "\n" not in problem
        assert len(problem) < 400
    return caught.value.problems


def test_there_are_enough_wrong_manifests() -> None:
    assert len(list(WRONG.glob("*.yaml"))) >= 90
    assert len(list(WRONG.glob("cache-*.yaml"))) >= 20
    assert len(list(WRONG.glob("filevolume-*.yaml"))) >= 25


@pytest.mark.parametrize("manifest", sorted(WRONG.glob("*.yaml")), ids=lambda path: path.stem)
def test_wrong_manifest_is_refused_with_path_and_sentence(manifest: Path) -> None:
    problems = refuse(
        manifest, load_resource if manifest.stem.startswith(("cache-", "filevolume-")) else load_manifest
    )
    expected = expectations(manifest)
    assert expected
    for path, fragment in expected:
        assert any(
            problem.startswith(f"{path}: ") and fragment in problem.removeprefix(path) for problem in problems
        ), problems
    assert len(problems) == len(expected), problems


def nonsense(seed: int, alphabet: str) -> str:
    return "\n" + "".join(random.Random(seed).choices(alphabet, k=300_000))


HOSTILE = {
    "printable": nonsense(1, "".join(map(chr, range(32, 127))) + "\n"),
    "structure": nonsense(2, "{}[]:,-?&*!|>'\"%@`# \n"),
    "words": nonsense(3, "abc :\n-"),
    "unicode": nonsense(4, "".join(map(chr, range(0xA0, 0x2000)))),
    "control": nonsense(5, "".join(map(chr, range(32)))),
    "brackets": "[" * 700_000 + "\n",
    "braces": '\n{"a":' * 200_000,
    "json-brackets": '{"a":' + "[" * 700_000,
    "dashes": "- " * 700_000 + "\n",
    "questions": "? " * 300_000 + "\n",
    "documents": "--- a\n" * 200_000,
    "empty-documents": "---\n" * 100_000,
    "anchors": "- &a 1\n" * 200_000,
    "long-line": "x" * 1_400_000 + "\n",
    "long-key": f"? {'k' * 300_000}\n: 1\n",
    "unclosed-quote": 'a: "' + "x\n" * 300_000,
    "backslashes": 'a: "' + "\\\\" * 300_000 + "\n",
    "comments": "#\n" * 700_000,
    "unknown-fields": HEAD + "".join(f"  field{number}: 1\n" for number in range(60_000)),
    "duplicate-keys": HEAD + "  a: 1\n" * 100_000,
    "items": HEAD + f"  input: {{items: [{'1, ' * 140_000}]}}\n  process: {{function: 'a:b'}}\n",
    "statements": HEAD + '  input: {range: {stop: 1}}\n  process: {source: "' + "x\\n" * 65_000 + '"}\n',
    "too-large": "a: 1\n" * 400_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_refused_at_once(text: str) -> None:
    assert refuse(text)


def faults(source: str | dict[str, Any]) -> list[str]:
    """Return what is wrong with a manifest, or nothing."""
    try:
        load_resource(source)
    except ManifestError as error:
        return error.problems
    return []


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_value_anywhere_is_accepted_or_refused_in_sentences(data: st.DataObject) -> None:
    manifest = yaml.safe_load((RIGHT / data.draw(st.sampled_from(EVERYTHING))).read_text())
    owner = manifest
    while isinstance(inner := owner[key := data.draw(st.sampled_from(sorted(owner)))], dict) and inner:
        if data.draw(st.booleans()):
            break
        owner = inner
    owner[key] = data.draw(ANY_JSON)
    assert not any(LIBRARY_WORDING.search(problem) for problem in faults(manifest))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_text_is_accepted_or_refused_in_sentences(data: st.DataObject) -> None:
    text = (RIGHT / data.draw(st.sampled_from(EVERYTHING))).read_text()
    at = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 5))
    structure = st.sampled_from("\t\r\x85\u2028{}[]:,-?&*!|>'\"%@`#\n")
    damaged = text[:at] + data.draw(st.text(st.characters() | structure, max_size=4)) + text[at + length :]
    assert not any(LIBRARY_WORDING.search(problem) for problem in faults(damaged))


def test_only_the_first_faults_are_listed() -> None:
    problems = refuse(HOSTILE["unknown-fields"])
    assert len(problems) == 21
    assert problems[-1] == "manifest: and 59982 more faults"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (Path("no/such/file.yaml"), "manifest: there is no file 'no/such/file.yaml'"),
        ("no-such-file.yaml", "manifest: there is no file 'no-such-file.yaml'"),
        (Path(), "manifest: can't read '.': Is a directory"),
        ("nul\0.yaml", "manifest: can't read 'nul\\x00.yaml': it is not a path"),
        ("", "manifest: is empty; it needs apiVersion, kind, metadata and spec"),
    ],
)
def test_unreadable_source(source: str | Path, problem: str) -> None:
    assert refuse(source) == [problem]


def test_file_beyond_the_limit_is_not_read_whole(tmp_path: Path) -> None:
    manifest = tmp_path / "job.yaml"
    with manifest.open("wb") as file:
        file.truncate(2**40)
    assert refuse(manifest) == ["manifest: is larger than 1,500,000 bytes; put the items into files"]
