"""Processors and memory of a container, as a pod says them: for the resources whose pods the operator makes."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from gristmill.api.rules import Model, Rule, compare, refusal
from gristmill.api.scalars import Bytes, between
from gristmill.api.words import shown

_CPU = r"[0-9]{1,3}(\.[0-9]{1,3})?|[0-9]{1,6}m"
_CPU_SENTENCE = "must be a number of processors, more than 0 and less than 1000, or a quantity such as 500m"


def processors(value: int | str) -> Fraction:
    """Return the processors that a quantity means: a half for 500m."""
    text = str(value)
    return Fraction(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)


def _is_cpu(value: Any) -> Any:
    if isinstance(value, str):
        holds = re.fullmatch(_CPU, value, re.ASCII) is not None and processors(value) > 0
    else:
        holds = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 999
    if not holds:
        quotes = "; put it in quotes" if isinstance(value, float) else ""
        raise refusal(("", f"{_CPU_SENTENCE}, got {shown(value)}{quotes}"))
    return value


_CPU_RULE = {
    "rule": "type(self) == int ? self >= 1 && self <= 999 : "
    f"self.matches(r'^(?:{_CPU})$') && quantity(self).isGreaterThan(quantity('0'))",
    "message": _CPU_SENTENCE,
}
Cpu = Annotated[
    int | str,
    BeforeValidator(_is_cpu),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "maxLength": 16, "x-kubernetes-validations": [_CPU_RULE]}
    ),
]


class ComputeResources(Model):
    """Processors and memory."""

    cpu: Cpu | None = Field(None, description="Processors, such as 500m or 2.")
    memory: Annotated[Bytes, between("16Mi", "16Ti")] | None = Field(
        None, description="Memory, such as 512Mi."
    )


class ResourcesSpec(Model):
    """What the container of a server is given, as in a pod."""

    requests: ComputeResources = ComputeResources()
    limits: ComputeResources = ComputeResources()

    rules = (
        Rule(
            "must be at most limits.cpu",
            compare("requests.cpu", "<=", "limits.cpu"),
            lambda spec: (
                spec.requests.cpu is None
                or spec.limits.cpu is None
                or processors(spec.requests.cpu) <= processors(spec.limits.cpu)
            ),
            at="requests.cpu",
        ),
        Rule(
            "must be at most limits.memory",
            compare("requests.memory", "<=", "limits.memory"),
            lambda spec: (
                spec.requests.memory is None
                or spec.limits.memory is None
                or spec.requests.memory <= spec.limits.memory
            ),
            at="requests.memory",
        ),
    )
