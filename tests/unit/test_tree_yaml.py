"""What a file of a configuration tree is read as, and in which words it is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gristmill.cli.tree_yaml import read
from gristmill.coordination.errors import CoordinationError
from gristmill.errors import UsageError


def value_of(folder: Path, text: str) -> Any:
    file = folder / "tree.yaml"
    file.write_text(f"/a: {text}\n")
    return json.loads(read(file)["/a"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{true: 1, True: 2}", {"true": 1, "True": 2}),
        ("{1: x, 1.0: y, 0x1: z}", {"1": "x", "1.0": "y", "0x1": "z"}),
        ("{null: 1, ~: 2, '': 3}", {"null": 1, "~": 2, "": 3}),
        ("{80: http, default: x}", {"80": "http", "default": "x"}),
        ("[{1: {2: x}}]", [{"1": {"2": "x"}}]),
        ("[&n 5, {*n : 6}]", [5, {"5": 6}]),
        ("{<<: {1: x, 2: y}, '1': z}", {"1": "z", "2": "y"}),
        ("{'<<': 2}", {"<<": 2}),
    ],
)
def test_keys_are_their_text(tmp_path: Path, text: str, value: Any) -> None:
    """As paths are."""
    assert value_of(tmp_path, text) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{1: x, '1': y}", "the key 1 is there twice"),
        ("[!!bool foo]", "'foo' can't be read as bool"),
        ("[{x: !!timestamp foo}]", "'foo' can't be read as timestamp"),
        ("[!!timestamp 2001-13-01]", "'2001-13-01' can't be read as timestamp"),
        ("[!!int abc]", "'abc' can't be read as int"),
        ("[!!int '']", "'' can't be read as int"),
        ("[!!float foo]", "'foo' can't be read as float"),
        ("[!!binary a]", "failed to decode base64 data"),
        (f"[{'9' * 5000}]", f"'{'9' * 40}' can't be read as"),
        ("!foo {a: 1}", "could not determine a constructor for the tag '!foo'"),
        ("{? [b] : 1}", "found unhashable key"),
        ("&x [*x]", "Circular reference"),
        ("!!set {x, y}", "can't be written as JSON"),
    ],
)
def test_what_can_not_be_read_is_told_with_its_path(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises((UsageError, CoordinationError), match=rf"(?s)/a: .*{re.escape(words)}"):
        value_of(tmp_path, text)


def test_what_is_nested_too_deeply_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tree\.yaml can't be read: it is nested too deeply$"):
        value_of(tmp_path, "[" * 3000 + "]" * 3000)
