"""The user's code is found, loaded, and named by a digest."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gristmill.api.manifest import load_manifest
from gristmill.errors import LoadError
from gristmill.worker import user_code


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def spec(process: dict[str, Any], reduce: str | None = None) -> Any:
    manifest: dict[str, Any] = {
        "apiVersion": "gristmill.dev/v1alpha1",
        "kind": "ChunkJob",
        "metadata": {"name": "x"},
        "spec": {"input": {"range": {"stop": 1}}, "process": process},
    }
    if reduce:
        manifest["spec"]["reduce"] = {"function": reduce}
    return load_manifest(manifest).spec


def test_a_module_beside_the_manifest_comes_first(tmp_path: Path) -> None:
    (tmp_path / "chess.py").write_text("class Board:\n    @staticmethod\n    def move(x): return x + 1\n")
    function, combine = user_code.load(spec({"function": "chess:Board.move"}, "operator:add"), str(tmp_path))
    assert function(1) == 2
    assert combine is not None
    assert combine(2, 3) == 5


def test_a_class_is_built_once(tmp_path: Path) -> None:
    (tmp_path / "keeper_of_state.py").write_text(
        "class K:\n    built = 0\n    def __init__(self): K.built += 1\n    def __call__(self, x): return K.built\n"
    )
    function, _ = user_code.load(spec({"class": "keeper_of_state:K"}), str(tmp_path))
    assert [function(0), function(0)] == [1, 1]


def test_source_defines_both(tmp_path: Path) -> None:
    text = "def add(a, b): return a + b\ndef twice(x): return 2 * x\n"
    function, combine = user_code.load(spec({"source": text}, "add"), str(tmp_path))
    assert function(4) == 8
    assert combine is not None
    assert combine(1, 2) == 3


@pytest.mark.parametrize(
    ("process", "words"),
    [
        ({"function": "no_such_module_here:f"}, ["no_such_module_here", "ModuleNotFoundError", "looked in"]),
        ({"function": "math:squirt"}, ["has no squirt"]),
        ({"function": "math:pi"}, ["process: a float can't be called; name a function"]),
        ({"class": "broken:Raises"}, ["broken:Raises", "ValueError: no model here"]),
        ({"function": "syntax_error:f"}, ["syntax_error", "SyntaxError"]),
        ({"function": "leaves:f"}, ["leaves", "SystemExit"]),
        ({"source": "import no_such_thing\ndef process(x): return x"}, ["process.source", "no_such_thing"]),
    ],
)
def test_what_can_not_be_loaded_is_told_with_its_cause(
    tmp_path: Path, process: dict[str, str], words: list[str]
) -> None:
    (tmp_path / "broken.py").write_text(
        "class Raises:\n    def __init__(self): raise ValueError('no model here')\n"
    )
    (tmp_path / "syntax_error.py").write_text("def f(:\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(1)\n")
    with pytest.raises(LoadError) as caught:
        user_code.load(spec(process), str(tmp_path))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("reduce", [None, "plain:nothing"])
def test_what_is_no_function_is_refused(tmp_path: Path, reduce: str | None) -> None:
    (tmp_path / "plain.py").write_text("nothing = None\ndef f(x): return x\n")
    with pytest.raises(LoadError, match="a NoneType can't be called"):
        user_code.load(spec({"function": "plain:f" if reduce else "plain:nothing"}, reduce), str(tmp_path))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("types:process", r"module types \(.*types\.py\) has no process"),
        ("__main__:f", "put it into a module"),
        ("mod.py:f", "name the module without .py, as mod:f"),
    ],
)
def test_what_can_not_be_found_is_told_with_what_to_do(tmp_path: Path, function: str, words: str) -> None:
    (tmp_path / "types.py").write_text("def process(x): return x\n")
    (tmp_path / "mod.py").write_text("def f(x): return x\n")
    with pytest.raises(LoadError, match=words):
        user_code.load(spec({"function": function}), str(tmp_path))
