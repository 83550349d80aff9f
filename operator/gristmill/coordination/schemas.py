"""Which values a tree takes: JSON schemas for paths, asked before anything is written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from gristmill.coordination.errors import BadValue

#: letters that are shown of a number that is none
_SHOWN = 40
_TOO_DEEP = "is nested too deeply, or refers to itself"


class Schemas:
    """JSON schemas by the paths that they are for: shell patterns, of which `*` matches `/`, too."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._checks: dict[str, Any] = {}
        if schemas:
            try:
                from jsonschema.exceptions import SchemaError
                from jsonschema.validators import validator_for
                from referencing import Registry
            except ImportError as error:
                raise BadValue("schemas need the package jsonschema: pip install jsonschema") from error
            for pattern, schema in schemas.items():
                if not isinstance(pattern, str):
                    raise BadValue(f"{pattern!r} has a schema, and is no path: paths are text, as '/db/*'")
                if not isinstance(schema, Mapping | bool):
                    raise BadValue(f"the schema of {pattern} is none: it is a JSON object, not {schema!r}")
                named = schema.get("$schema", "") if isinstance(schema, Mapping) else ""
                if not isinstance(named, str):
                    raise BadValue(f"the schema of {pattern} is none: its $schema is a URI, not {named!r}")
                try:
                    kind: Any = validator_for(schema)
                    kind.check_schema(schema)
                except SchemaError as error:
                    raise BadValue(f"the schema of {pattern} is none: {error.message}") from None
                except (ValueError, TypeError) as error:  # (of an address that is none, say)
                    raise BadValue(f"the schema of {pattern} is none: {error}") from None
                except RecursionError:
                    raise BadValue(f"the schema of {pattern} {_TOO_DEEP}") from None
                # (with a registry of one's own nothing is fetched)
                self._checks[pattern] = kind(schema, registry=Registry())

    def check(self, path: str, value: bytes) -> None:
        """Raise BadValue where a value is not as a schema of its path says."""
        for pattern, validator in self._checks.items():
            if not fnmatchcase(path, pattern):
                continue
            from referencing.exceptions import Unresolvable

            try:
                found = json.loads(value, parse_constant=_refuse, parse_float=_finite)
            except RecursionError:
                raise BadValue(f"{path}: the value {_TOO_DEEP}") from None
            except ValueError as error:
                raise BadValue(f"{path}: the value is no JSON, and {pattern} has a schema: {error}") from None
            try:
                faults = sorted(
                    validator.iter_errors(found), key=lambda fault: list(map(str, fault.absolute_path))
                )
            except Unresolvable as error:
                raise BadValue(
                    f"{path}: the schema of {pattern} refers to what is not there ({error}): nothing is fetched, write "
                    "it into its $defs"
                ) from None
            except RecursionError:
                raise BadValue(f"{path}: the value or the schema of {pattern} {_TOO_DEEP}") from None
            except Exception as error:  # (a number that is too large for its arithmetic, say)
                raise BadValue(
                    f"{path}: the schema of {pattern} can't be asked of the value: {error}"
                ) from error
            if faults:
                place = "".join(f"[{word!r}]" for word in faults[0].absolute_path)
                raise BadValue(f"{path}{place}: {faults[0].message} (schema of {pattern})")


def _refuse(word: str) -> None:
    """Refuse NaN and Infinity, which Python reads as numbers."""
    raise ValueError(f"{word} is none")


def _finite(word: str) -> float:
    """Return a number. Refuse one that Python reads as infinite, which JSON does not have."""
    number = float(word)
    if math.isinf(number):
        raise ValueError(f"{word[:_SHOWN]} is larger than a number can be")
    return number
