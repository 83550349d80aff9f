"""Reads the text of a manifest into plain JSON values, and refuses early what could hurt or surprise.

PyYAML's own constructors recurse, guess (dates, numbers of base 60) and keep the last of two equal keys. So
values are built here from its stream of events, as kubectl reads YAML, and within limits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from gristmill.api.words import path_of, quoted
from gristmill.errors import ManifestError

if TYPE_CHECKING:
    import yaml

MAX_BYTES = 1_500_000
MAX_DEPTH = 100
MAX_VALUES = 150_000

_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLS = {
    spelling: value
    for value, words in ((True, ("true", "yes", "on", "y")), (False, ("false", "no", "off", "n")))
    for word in words
    for spelling in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*|0o?[0-7]+|0x[0-9a-fA-F]+|0b[01]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_PLAIN_TAGS = {None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_NO_KEY = object()


def parse(text: str | bytes) -> Any:
    """Return the value of a text of YAML or JSON with one document. ManifestError says where it is wrong."""
    try:
        data = text.encode() if isinstance(text, str) else text
        if len(data) > MAX_BYTES:
            _refuse(f"is larger than {MAX_BYTES:,} bytes; put the items into files")
        decoded = data.decode("utf-8-sig")
    except UnicodeError:
        _refuse("is not UTF-8 text; save it as UTF-8")
    if decoded.lstrip().startswith("{"):
        try:
            return json.loads(decoded, object_pairs_hook=_without_duplicates, parse_float=_float)
        except (ValueError, RecursionError):
            pass  # it may be YAML, and if it is neither, the YAML reader knows the place
    documents = (document for document in _documents(decoded) if document is not None)
    first = next(documents, None)
    if first is None:
        _refuse("is empty; it needs apiVersion, kind, metadata and spec")
    if next(documents, None) is not None:
        _refuse("has more than one document; put one ChunkJob into a file")
    return first


def _float(text: str) -> int | float:
    """Return a number as it comes out of a cluster, where 1.0 and 1e3 have become 1 and 1000."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _refuse(sentence: str, mark: Any = None, path: str = "manifest") -> NoReturn:
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    raise ManifestError([f"{path}: {place}{sentence}"])


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("duplicate key")
    return mapping


def _documents(text: str) -> Iterator[Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.DocumentStartEvent):
                builder = _Builder()
            elif isinstance(event, yaml.DocumentEndEvent):
                yield builder.document
            elif isinstance(event, yaml.ScalarEvent):
                value = _scalar(event)
                builder.add(value, event)
                if event.anchor:
                    builder.anchors[event.anchor] = value
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in builder.anchors:
                    _refuse(f"the alias *{event.anchor} has no anchor before it", event.start_mark)
                builder.add(builder.anchors[event.anchor], event)
            elif isinstance(event, yaml.CollectionStartEvent):
                builder.open({} if isinstance(event, yaml.MappingStartEvent) else [], event)
            elif isinstance(event, yaml.CollectionEndEvent):
                builder.close(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark and text[mark.index : mark.index + 1] == "\t":
            _refuse("has a tab; indent with spaces", mark)
        _refuse(f"is not valid YAML: {error.problem}", mark)
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        _refuse(f"line {line}: holds a control character; manifests are text")


@dataclass(slots=True)
class _Open:
    """A mapping or list that has not ended yet."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    key: Any = _NO_KEY


@dataclass(slots=True)
class _Builder:
    """Puts the values of one document together."""

    document: Any = None
    anchors: dict[str, Any] = field(default_factory=dict)
    stack: list[_Open] = field(default_factory=list)
    values: int = 0

    def open(self, value: dict[str, Any] | list[Any], event: yaml.CollectionStartEvent) -> None:
        """Begin a mapping or list."""
        _check_tag(event)
        if len(self.stack) >= MAX_DEPTH:
            _refuse(f"is nested deeper than {MAX_DEPTH} levels", event.start_mark)
        if self.stack and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is _NO_KEY:
            _refuse("a key must be text, not a mapping or a list", event.start_mark)
        self.stack.append(_Open(value, event.anchor))

    def close(self, event: yaml.CollectionEndEvent) -> None:
        """End the innermost mapping or list."""
        ended = self.stack.pop()
        self.add(ended.value, event)
        if ended.anchor:
            self.anchors[ended.anchor] = ended.value

    def add(self, value: Any, event: yaml.Event) -> None:
        """Put a whole value where it belongs: the document, a list, a key, or a key's value."""
        self.values += 1
        if self.values > MAX_VALUES:
            _refuse(f"holds more than {MAX_VALUES:,} values; put the items into files")
        if not self.stack:
            self.document = value
            return
        parent = self.stack[-1]
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.key is _NO_KEY:
            self._check_key(value, parent.value, event)
            parent.key = value
        else:
            parent.value[parent.key] = value
            parent.key = _NO_KEY

    def _check_key(self, key: Any, mapping: dict[str, Any], event: yaml.Event) -> None:
        if not isinstance(key, str):
            _refuse(
                f"a key must be text, but is read as {json.dumps(key)}; put it in quotes", event.start_mark
            )
        if key == "<<":
            _refuse("merge keys (<<) are not supported; write the fields out", event.start_mark)
        if key in mapping:
            path = path_of(
                level.key if isinstance(level.value, dict) else len(level.value) for level in self.stack[:-1]
            )
            _refuse(f"the key {quoted(key)} is written twice", event.start_mark, path or "manifest")


def _check_tag(event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
    if event.tag not in _PLAIN_TAGS:
        _refuse(f"has the tag {quoted(str(event.tag))}; write the value without a tag", event.start_mark)


def _scalar(event: yaml.ScalarEvent) -> Any:
    """Return what a scalar means: its text, unless it is plain and spells a null, boolean or number."""
    _check_tag(event)
    text = event.value
    if not event.implicit[0]:
        return text
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 100:
            _refuse("the number has too many digits", event.start_mark)
        digits = text.replace("_", "")
        old_octal = re.fullmatch(r"[-+]?0[0-7]+", digits)
        return int(digits, 8 if old_octal else 0)
    if _FLOAT.fullmatch(text):
        return _float(text)
    return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text) else text
