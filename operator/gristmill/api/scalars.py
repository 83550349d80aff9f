"""The kinds of single values that several parts of a custom resource use, each with its own rule."""

from __future__ import annotations

import codecs
import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict, WithJsonSchema
from pydantic.functional_validators import AfterValidator

from gristmill.api import quantity
from gristmill.api.rules import Rule, matches, refusal
from gristmill.api.words import hint, quoted, shown

#: the largest number of items: what every JSON reader can still count exactly
MAX_ITEMS = 2**53

Number = Annotated[int, Strict(), Field(ge=-MAX_ITEMS, le=MAX_ITEMS)]
Count = Annotated[int, Strict(), Field(ge=1, le=MAX_ITEMS)]
Tally = Annotated[int, Strict(), Field(ge=0)]
Flag = Annotated[bool, Strict()]
Seconds = Annotated[float, Strict(), Field(ge=0, le=10**9, allow_inf_nan=False)]
SomeSeconds = Annotated[float, Strict(), Field(gt=0, le=10**9, allow_inf_nan=False)]

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_DOTTED = rf"{_NAME}(\.{_NAME})*"
REFERENCE = rf"{_DOTTED}:{_DOTTED}"

Reference = Annotated[
    str,
    Field(max_length=512),
    matches(REFERENCE, "must be written as module:name, for example mypackage.text:count_words"),
]
ReduceReference = Annotated[
    str,
    Field(max_length=255),
    matches(
        rf"{REFERENCE}|{_NAME}",
        "must be written as module:name, or be the name of a function in process.source",
    ),
]
ExceptionName = Annotated[
    str,
    Field(max_length=512),
    matches(_DOTTED, "must be the name of an exception class, for example ValueError or mypackage.BadRecord"),
]


def _to_bytes(value: Any) -> int:
    try:
        return quantity.parse_quantity(value)
    except ValueError as error:
        raise refusal(("", f"{error}, got {shown(value)}")) from None


_QUANTITY_RULE = {
    "rule": f"type(self) == int || self.matches(r'^(?:{quantity.PATTERN})$')",
    "message": quantity.SENTENCE,
}
Bytes = Annotated[
    int,
    BeforeValidator(_to_bytes),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "maxLength": 32, "x-kubernetes-validations": [_QUANTITY_RULE]}
    ),
]


#: what Kubernetes counts in containers: a share of a processor is a quantity that is no whole number of bytes
_ANY_QUANTITY = rf"{quantity.PATTERN}|[0-9]{{1,12}}m"
_ANY_QUANTITY_SENTENCE = "must be a quantity such as 500m, 2 or 512Mi"


def _is_quantity(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        holds = value >= 0
    else:
        holds = isinstance(value, str) and re.fullmatch(_ANY_QUANTITY, value, re.ASCII) is not None
    if not holds:
        raise refusal(("", f"{_ANY_QUANTITY_SENTENCE}, got {shown(value)}"))
    return str(value)


def amount(value: str) -> Fraction:
    """Return what a quantity means, a thousandth of it too."""
    if value.endswith("m"):
        return Fraction(value[:-1]) / 1000
    match = re.fullmatch(quantity.PATTERN, value)
    return Fraction(match[1]) * quantity.UNITS.get(match[2], 1) if match else Fraction(value)


Quantity = Annotated[
    str,
    BeforeValidator(_is_quantity),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            "x-kubernetes-validations": [
                {
                    "rule": f"type(self) == int ? self >= 0 : self.matches(r'^(?:{_ANY_QUANTITY})$')",
                    "message": _ANY_QUANTITY_SENTENCE,
                }
            ],
        }
    ),
]


def between(low: str, high: str) -> Rule:
    """Return the rule that a number of bytes lies between two quantities."""
    least, most = quantity.parse_quantity(low), quantity.parse_quantity(high)
    return Rule(
        f"must be between {low} and {high}",
        f"type(self) == int ? self >= {least} && self <= {most} : !isQuantity(self) || ("
        f"quantity(self).compareTo(quantity('{low}')) >= 0 && "
        f"quantity(self).compareTo(quantity('{high}')) <= 0)",
        lambda value: least <= value <= most,
    )


StorageClassName = Annotated[
    str,
    Field(max_length=253),
    matches(
        r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?",
        "must be the name of a StorageClass: lower-case letters, digits, dashes and dots",
    ),
]


#: a link of a chain of URLs begins with no scheme, or with what can't be one
_NO_SCHEME = r"(^|::)(://|[a-z0-9+._-]*[^a-z0-9+._:-])"


def _never(pattern: str, sentence: str) -> Rule:
    """Return the rule that a pattern is nowhere in a text."""
    compiled = re.compile(pattern, re.ASCII)
    return Rule(sentence, f"!self.matches(r'{pattern}')", lambda text: compiled.search(text) is None)


def _known_scheme(url: str) -> str:
    """Refuse a URL that no file system of fsspec answers for; a text without a scheme is a path."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)", url):
        raise refusal(("", f"has one slash after the scheme; write {url.partition(':')[0]}://…"))
    if "://" not in url:
        return url
    from fsspec.registry import known_implementations

    for link in url.split("::"):
        scheme, found, rest = link.partition("://")
        if scheme not in known_implementations:
            near = hint(scheme.lower(), known_implementations)
            raise refusal(("", f"has the unknown scheme {quoted(scheme)}{near}"))
        if found and not rest.strip("/"):
            raise refusal(("", f"names nothing after {scheme}://"))
    return url


Url = Annotated[
    str,
    Field(min_length=1, max_length=4096),
    matches(r"[^\x00-\x1f\x7f]*", "must be a URL or a path, without control characters"),
    AfterValidator(_known_scheme),
    # what the API server can see of it; which schemes there are, only Python knows
    _never(
        r"^[A-Za-z][A-Za-z0-9+.-]+:/([^/]|$)", "has one slash after the scheme; write two, as in s3://bucket"
    ),
    _never(r":///*(::|$)", "names nothing after ://"),
    Rule(
        "has an unknown scheme; schemes are words in lower case, such as s3",
        f"!self.contains('://') || !self.matches(r'{_NO_SCHEME}')",
        lambda url: "://" not in url or re.search(_NO_SCHEME, url) is None,
    ),
]


#: encodings of Python in which bytes without a line end may mean one
_WRITES_NEWLINES_OTHERWISE = ("utf-7", "unicode-escape", "raw-unicode-escape")


def _cuts_at_newline(encoding: str) -> str:
    """Refuse an encoding that is unknown, or whose line ends are not the byte that lines are cut at."""
    try:
        known = codecs.lookup(encoding)
        newline = "\n".encode(encoding)
    except (LookupError, UnicodeError):
        raise refusal(("", f"is not a text encoding that Python knows, got {quoted(encoding)}")) from None
    if known.name == "utf-8-sig":
        raise refusal(
            (
                "",
                "can't be utf-8-sig; write utf-8: a file's mark is then the first character of its first line, \\ufeff",
            )
        )
    if known.name in _WRITES_NEWLINES_OTHERWISE:
        raise refusal(
            ("", f"can't be {known.name}: it can write a line end in other words; convert the text to utf-8")
        )
    if newline != b"\n":
        raise refusal(
            ("", f"can't be {known.name}: its line ends are not one byte; convert the text to utf-8")
        )
    return encoding


Encoding = Annotated[
    str,
    Field(max_length=64),
    matches(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "must be the name of a text encoding, for example utf-8"),
    AfterValidator(_cuts_at_newline),
]


_PERCENTAGE = r"[0-9]{1,3}(\.[0-9]{1,6})?%"
_TOLERANCE_SENTENCE = "must be a number of items, at least 0, or a percentage such as 5%"


def _is_tolerance(value: Any) -> Any:
    if isinstance(value, str):
        match = re.fullmatch(_PERCENTAGE, value)
        holds = match is not None and float(value[:-1]) <= 100
    else:
        holds = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_ITEMS
    if not holds:
        raise refusal(("", f"{_TOLERANCE_SENTENCE}, got {shown(value)}"))
    return value


_TOLERANCE_RULE = {
    "rule": f"type(self) == int ? self >= 0 && self <= {MAX_ITEMS} : "
    f"self.matches(r'^{_PERCENTAGE}$') && double(self.replace('%', '')) <= 100.0",
    "message": _TOLERANCE_SENTENCE,
}
Tolerance = Annotated[
    int | str,
    BeforeValidator(_is_tolerance),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "maxLength": 16, "x-kubernetes-validations": [_TOLERANCE_RULE]}
    ),
]
