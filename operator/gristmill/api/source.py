"""What Python text in a manifest defines, found without running it, so that it can be checked anywhere.

The worker asks the same question of the same text, so that it calls the function that validation found.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field

from gristmill.api.rules import Rule, refusal

MAX_SOURCE = 131_072
PROCESS = "process"


@dataclass(frozen=True)
class Names:
    """The names that a text binds at its top level: all of them, and those that are functions."""

    bound: frozenset[str]
    functions: tuple[str, ...]
    coroutines: frozenset[str]


@lru_cache(maxsize=8)
def defined(text: str) -> Names:
    """Return the names that Python text defines. ValueError has the line of a syntax error."""
    if "\0" in text:
        raise ValueError("must not hold NUL characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            statements = list(_top_level(ast.parse(text).body))
    except SyntaxError as error:
        raise ValueError(f"has a syntax error in line {error.lineno or 1}: {error.msg[:100]}") from None
    except (RecursionError, MemoryError):
        raise ValueError("is nested too deeply") from None
    functions = dict.fromkeys(node.name for node in statements if isinstance(node, ast.FunctionDef))
    coroutines = frozenset(node.name for node in statements if isinstance(node, ast.AsyncFunctionDef))
    bound = frozenset(name for node in statements for name in _binds(node))
    return Names(bound, tuple(functions), coroutines)


def entry_point(text: str, apart_from: str | None = None) -> str:
    """Return the name of the function that is called for each item: `process`, or the only public function.

    `apart_from` is a function that has another use (the reducing one). ValueError says what is missing.
    """
    names = defined(text)
    public = [name for name in names.functions if not name.startswith("_") and name != apart_from]
    entry = PROCESS if PROCESS in names.bound else public[0] if len(public) == 1 else None
    if entry is None and names.coroutines and not public:
        raise ValueError(f"defines {min(names.coroutines)} with async def; use def")
    if entry is None:
        found = f"it defines {', '.join(public[:5])}" if public else "it defines none"
        raise ValueError(f"must define a function called {PROCESS}, or exactly one public function; {found}")
    if entry in names.coroutines:
        raise ValueError(f"defines {entry} with async def; use def")
    return entry


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that bind names of the module, those inside if, try, with and loops too."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.TryStar, ast.With, ast.For, ast.While)):
            for field in ("body", "handlers", "orelse", "finalbody"):
                for inner in getattr(node, field, ()):
                    yield from _top_level(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def _binds(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def _parses(text: str) -> str:
    try:
        defined(text)
    except ValueError as error:
        raise refusal(("", str(error))) from None
    return text


Source = Annotated[
    str,
    Field(min_length=1, max_length=MAX_SOURCE),
    Rule("must not hold NUL characters", r"!self.contains('\u0000')", lambda text: "\0" not in text),
    AfterValidator(_parses),
]
