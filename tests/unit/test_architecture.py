"""What the docs say of the parts is what import-linter holds."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_parts_are_told_in_the_order_of_imports() -> None:
    contracts = ConfigParser()
    contracts.read(ROOT / ".importlinter")
    layers = contracts["importlinter:contract:layers"]["layers"].split("\n")
    held = [{*re.findall(r"\w+", layer)} for layer in layers if layer]
    table = (ROOT / "docs/architecture.md").read_text().split("| --- | --- |\n")[1].split("\n\n")[0]
    rows = [row.split(" | ")[0] for row in table.splitlines()]
    parts = [part for row in rows for part in re.findall(r"`(\w+)(?:/|\.py)`", row)]
    told = []
    for layer in held:
        told.append({*parts[: len(layer)]})
        del parts[: len(layer)]
    assert (told, parts) == (held, [])
