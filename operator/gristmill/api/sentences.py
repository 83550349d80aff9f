"""Turns what the models refuse into `field.path: sentence`, in words of the manifest, not of a library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gristmill.api.words import hint, path_of, shown

#: more faults than this help nobody
MOST = 20

_TYPES = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
}
_LENGTHS = {
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters long",
    "too_long": "must have at most {max_length} entries, got {actual_length}",
    "missing": "is required",
}


def problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return a line for each fault of a manifest that `model` refused, the first `MOST` of them."""
    details = error.errors(include_url=False)
    lines = [line for detail in details[:MOST] for line in _lines(detail, model)]
    rest = len(details) - MOST
    return [*lines, f"manifest: and {rest} more faults"] if rest > 0 else lines


def _lines(detail: ErrorDetails, model: type[BaseModel]) -> list[str]:
    steps: list[str | int] = [step for step in detail["loc"] if step != "[key]"]
    if detail["type"] == "refused":
        refused: Sequence[tuple[str, str]] = detail["ctx"]["problems"]
        return [f"{path_of([*steps, *filter(None, at.split('.'))])}: {sentence}" for at, sentence in refused]
    if detail["type"] == "extra_forbidden":
        return [f"{path_of(steps)}: is not a field of {_owner(steps)}{_suggest(steps, model)}"]
    return [f"{path_of(steps)}: {_sentence(detail)}"]


def _sentence(detail: ErrorDetails) -> str:
    kind, value = detail["type"], detail["input"]
    context: dict[str, Any] = {
        name: int(bound) if isinstance(bound, float) and bound.is_integer() else bound
        for name, bound in detail.get("ctx", {}).items()
    }
    if kind in _LENGTHS:
        return _LENGTHS[kind].format(**context)
    sentence = _TYPES.get(kind, "is not valid").format(**context) + f", got {shown(value)}"
    if kind in ("int_type", "float_type", "bool_type") and isinstance(value, str):
        return f"{sentence}; write it without quotes" if _reads_as_scalar(value) else sentence
    if kind == "string_type" and isinstance(value, (bool, int, float)):
        return f"{sentence}; put it in quotes"
    if kind == "literal_error" and isinstance(value, str):
        return sentence + hint(value, [word.strip("'") for word in context["expected"].split(" or ")])
    return sentence


def _reads_as_scalar(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in ("true", "false")
    return True


def _owner(steps: Sequence[str | int]) -> str:
    return path_of(steps[:-1]) or "the manifest"


def _suggest(steps: Sequence[str | int], model: type[BaseModel]) -> str:
    """Return the nearest field, or all there are."""
    owner: Any = model
    for step in steps[:-1]:
        if isinstance(step, int):
            continue  # (the kind of a list's entries was taken with the list)
        fields = {field.alias: field.annotation for field in owner.model_fields.values()}
        owner = next(
            kind for kind in (fields[step], *get_args(fields[step])) if hasattr(kind, "model_fields")
        )
    names = sorted(field.alias for field in owner.model_fields.values())
    return hint(str(steps[-1]), names) or f"; there are {', '.join(names)}"
