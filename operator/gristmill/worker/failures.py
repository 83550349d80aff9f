"""What is kept of a failure of user code: enough to understand it, and to repeat it elsewhere."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from gristmill.errors import GristmillError, InputChanged, InputError
from gristmill.planning.values import DeadLetter

#: characters that are kept of an input, an error and a traceback
_INPUT, _ERROR, _TRACEBACK = 1000, 1000, 8000
#: items that are shown where it is not known which of them failed
_SHOWN = 20
#: where this package is
_OURS = os.path.join(Path(__file__).parents[1], "")
#: and by which ours is called, where input can't be read
_PYTHONS = os.path.join(sysconfig.get_path("stdlib"), "")
#: the frame below which a child has none of the user's
_ENTRY = " in child_main"
#: the line with what is loaded, which can be longer than all frames together
_MODULES = "Extension modules: "


@dataclass(frozen=True, slots=True)
class Failure:
    """A chunk whose function failed: which item (-1: unknown) of how many, the error, and the input as text."""

    chunk: int
    item: int
    items: int
    error: BaseException
    input: str


def failure_at(
    chunk: int,
    index: int,
    items: Sequence[Any],
    error: BaseException,
    low: int = 0,
    count: int | None = None,
) -> Failure:
    """Return the failure at items[index] (-1: unknown); items[0] is the chunk's item number `low`.

    `count` items are there; None: they are counted. Where they can't be, that is the failure, whatever the function
    raised: the chunk is tried again. InputChanged is raised.
    """
    try:
        text = input_of(items, index)
    except InputChanged:
        raise
    except Exception as unreadable:  # an item may be what can't be read
        text = f"({_said(unreadable)})"
    if count is None:
        try:
            count = len(items)
        except InputChanged:
            raise
        except InputError as unread:
            return Failure(chunk, -1, 0, unread, text)
    return Failure(chunk, index + low if index >= 0 else -1, count, error, text)


def input_of(items: Sequence[Any], index: int) -> str:
    """Return items[index] as a dead letter shows it; index -1: the first of them. Raises what reading them raises."""
    # (an index would make a large chunk a list of all its lines)
    shown = next(islice(items, index, None)) if index >= 0 else list(islice(items, _SHOWN))
    return _clean(_as_text(shown)) if index >= 0 or shown else ""


def letter_of(failure: Failure, attempt: int, worker: str, now: float) -> DeadLetter:
    """Return the dead letter that this failure becomes if it was the last attempt; `now` in unix seconds."""
    error = failure.error
    return DeadLetter(
        chunk=failure.chunk,
        item=failure.item,
        items=max(1, failure.items),
        kind="memory" if isinstance(error, MemoryError) else "error",
        attempts=attempt,
        worker=worker,
        error=_said(error)[:_ERROR],
        traceback=own_traceback(error),
        input=failure.input,
        at=now,
    )


def is_final(error: BaseException, names: frozenset[str]) -> bool:
    """Whether the error, or a class that it is of, is named: by its name or by module and name.

    What can't be read now is no error of the function, and is tried again.
    """
    if isinstance(error, InputError):
        return False
    kinds = type(error).__mro__
    return any(kind.__name__ in names or f"{kind.__module__}.{kind.__qualname__}" in names for kind in kinds)


def own_traceback(error: BaseException) -> str:
    """Return the traceback with its causes: frames of what the user wrote and what that called, none of ours."""
    told = traceback.TracebackException.from_exception(error, compact=True)
    if isinstance(error, GristmillError):  # (its message says what it was caused by)
        told.__cause__ = told.__context__ = None
    _leave_out(told, (_OURS, _PYTHONS) if isinstance(error, InputError) else (_OURS,))
    return _clean("".join(told.format())[-_TRACEBACK:])


def own_frames(printed: str) -> str:
    """Return what a crash printed, with frames of what the user wrote and what that called, none of ours.

    (What the interpreter's `faulthandler` prints: the last call is first.)
    """
    ours = f'  File "{_OURS.encode("ascii", "backslashreplace").decode()}'
    kept, is_below = [], False
    for line in printed.splitlines(keepends=True):
        is_frame = line.startswith("  File ")
        is_below = is_frame and (is_below or (line.startswith(ours) and line.rstrip().endswith(_ENTRY)))
        if not (is_below or line.startswith((ours, _MODULES))):
            kept.append(line)
    return "".join(kept).rstrip()


def _leave_out(told: traceback.TracebackException, folders: tuple[str, ...]) -> None:
    left: list[traceback.TracebackException | None] = [told]
    while left:
        if one := left.pop():
            frames = [frame for frame in one.stack if not frame.filename.startswith(folders)]
            one.stack = traceback.StackSummary.from_list(frames)
            left += [one.__cause__, one.__context__, *(one.exceptions or ())]


def _as_text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()[:_INPUT]
    except TypeError:
        return repr(value)[:_INPUT]


def _said(error: BaseException) -> str:
    """Return class and message of an error, whatever its own code does when it is asked."""
    try:
        return _clean(f"{type(error).__name__}: {error}")
    except Exception:
        return f"{type(error).__name__} (its message can't be shown)"


def _clean(text: str) -> str:
    """Return text that can be written as UTF-8."""
    return text.encode("utf-8", "replace").decode()
