"""What a type alone can't say, said once: a rule is a sentence with its check in Python and in CEL.

The API server evaluates the CEL (it is in the CRD), everybody else the Python; both answer with the same
sentence. A rule is put on a field as `Annotated[..., rule]`, or on a model in its `rules`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from gristmill.api.words import shown

#: properties with these names are written __name__ in CEL
_CEL_RESERVED = {"function"}


def refusal(*problems: tuple[str, str]) -> PydanticCustomError:
    """Return an error of (path below the value that is validated, sentence) pairs; `sentences` unpacks it."""
    return PydanticCustomError("refused", "refused", {"problems": problems})


@dataclass(frozen=True)
class Rule:
    """A sentence that says how it must be; `holds` and `cel` tell if it is so; `at` is the field to blame.

    Without `cel` the schema says the same in another way.
    """

    sentence: str
    cel: str
    holds: Callable[[Any], bool]
    at: str = ""

    def to_crd(self) -> dict[str, str]:
        """Return the entry of `x-kubernetes-validations`."""
        entry = {"rule": self.cel, "message": self.sentence}
        return entry | {"fieldPath": f".{self.at}"} if self.at else entry

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return with_rules(handler(schema), (self,))

    def _check(self, value: Any) -> Any:
        if not self.holds(value):
            raise refusal(("", f"{self.sentence}, got {shown(value)}"))
        return value


def with_rules(schema: JsonSchemaValue, rules: tuple[Rule, ...]) -> JsonSchemaValue:
    """Add rules to a JSON schema."""
    entries = [*schema.get("x-kubernetes-validations", ()), *(rule.to_crd() for rule in rules if rule.cel)]
    return schema | {"x-kubernetes-validations": entries} if entries else schema


def matches(pattern: str, sentence: str) -> Rule:
    """Return the rule that a text matches a pattern, in the syntax that Python and RE2 share, as a whole."""
    compiled = re.compile(pattern, re.ASCII)
    return Rule(
        sentence, f"self.matches(r'^(?:{pattern})$')", lambda text: compiled.fullmatch(text) is not None
    )


def exactly_one(*names: str) -> Rule:
    """Return the rule that exactly one of these fields is set."""
    return Rule(
        f"must have exactly one of {', '.join(names)}",
        f"{_count(names)} == 1",
        lambda model: _set_fields(model, names) == 1,
    )


def at_most_one(*names: str) -> Rule:
    """Return the rule that not more than one of these fields is set."""
    return Rule(
        f"must have at most one of {', '.join(names)}",
        f"{_count(names)} <= 1",
        lambda model: _set_fields(model, names) <= 1,
    )


def compare(left: str, comparison: str, right: str) -> str:
    """Return the CEL that two quantities compare so, where both are set; what is none is refused elsewhere."""
    unset = (f"!self.{path.replace('.', '.?')}.hasValue()" for path in (f"?{left}", f"?{right}"))
    wrong = (f"!isQuantity(string(self.{path}))" for path in (left, right))
    holds = f"quantity(string(self.{left})).compareTo(quantity(string(self.{right}))) {comparison} 0"
    return " || ".join((*unset, *wrong, holds))


def on_change(sentence: str, cel: str, at: str) -> Rule:
    """Return a rule about what was there before, which only the API server knows."""
    return Rule(sentence, cel, lambda _: True, at=at)


def _count(names: tuple[str, ...]) -> str:
    escaped = (f"__{name}__" if name in _CEL_RESERVED else name for name in names)
    return " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in escaped)


def _set_fields(model: Model, names: tuple[str, ...]) -> int:
    return sum(
        field.alias in names and getattr(model, name) is not None
        for name, field in type(model).model_fields.items()
    )


class Model(BaseModel):
    """Base of all parts of a custom resource: camelCase outside, nothing unknown, frozen."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_unset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = {field.alias for field in cls.model_fields.values()}
        return {key: value for key, value in data.items() if value is not None or key not in known}

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        broken = [(rule.at, rule.sentence) for rule in self.rules if not rule.holds(self)]
        if broken:
            raise refusal(*broken)
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        resolved = handler.resolve_ref_schema(handler(schema))
        resolved.update(with_rules(resolved, cls.rules))
        return resolved
