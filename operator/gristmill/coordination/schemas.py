"""Which values a tree takes: JSON schemas for paths, asked before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from gristmill.coordination.errors import BadValue


class Schemas:
    """JSON schemas by the paths that they are for: shell patterns, of which `*` matches `/`, too."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._checks: dict[str, Any] = {}
        if schemas:
            try:
                from jsonschema.validators import validator_for
            except ImportError as error:
                raise BadValue("schemas need the package jsonschema: pip install jsonschema") from error
            for pattern, schema in schemas.items():
                kind = validator_for(schema)
                kind.check_schema(schema)
                self._checks[pattern] = kind(schema)

    def check(self, path: str, value: bytes) -> None:
        """Raise BadValue where a value is not as a schema of its path says."""
        for pattern, validator in self._checks.items():
            if not fnmatchcase(path, pattern):
                continue
            try:
                found = json.loads(value, parse_constant=_refuse)
            except ValueError as error:
                raise BadValue(f"{path}: the value is no JSON, and {pattern} has a schema: {error}") from None
            faults = sorted(
                validator.iter_errors(found), key=lambda fault: list(map(str, fault.absolute_path))
            )
            if faults:
                place = "".join(f"[{word!r}]" for word in faults[0].absolute_path)
                raise BadValue(f"{path}{place}: {faults[0].message} (schema of {pattern})")


def _refuse(word: str) -> None:
    """Refuse NaN and Infinity, which Python reads as numbers."""
    raise ValueError(f"{word} is none")
