"""What a file of a configuration tree is read as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gristmill.cli.tree_yaml import read


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
