"""How values and names are shown in sentences: short, on one line, as a manifest spells them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

_SHOWN = 60


def shown(value: Any) -> str:
    """Return a value as a manifest would spell it, cut to a readable length."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, str):
        return quoted(value)
    text = json.dumps(value) if isinstance(value, (bool, int, float)) else type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def quoted(text: str) -> str:
    """Return a text in quotes, with line ends and other unprintable characters escaped."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}…"


def listed(words: Sequence[str], last: str = "or") -> str:
    """Return words as a sentence lists them: a, b or c."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def hint(word: str, known: Iterable[str]) -> str:
    """Return '; did you mean …?' for the nearest known word, or nothing where none is near."""
    near = difflib.get_close_matches(word[:_SHOWN], known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def path_of(steps: Iterable[str | int]) -> str:
    """Return the path of a field: `spec.retry.finalExceptions[0]`; an odd key stands in brackets."""
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,62}", step):
            path += f".{step}" if path else step
        else:
            path += f"[{quoted(step)}]"
    return path
