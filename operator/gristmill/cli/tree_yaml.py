"""The nodes of a configuration tree as YAML: a mapping of paths to values, to be printed, edited and read again."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gristmill.coordination.errors import Refused
from gristmill.coordination.names import check_path
from gristmill.coordination.nodes import bytes_of
from gristmill.coordination.port import check_size
from gristmill.errors import UsageError

#: breaks of a line, but those that everybody knows
_BREAKS = {"\x85", "\u2028", "\u2029"}
_TAG = "tag:yaml.org,2002:"
#: letters that are shown of what can't be read
_SHOWN = 40
#: what is no text in a list or mapping: what it is in JSON, or how YAML has it
_WORDS = {
    "bool": (re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"),
    "null": (re.compile(r"|~|null|Null|NULL"), ["", "~", "n", "N"]),
    "int": (re.compile(r"-?(0|[1-9][0-9]*)"), "-0123456789"),
    "float": (re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?"), "-0123456789"),
    "merge": (re.compile("<<"), "<"),
}


class _Reader(yaml.SafeLoader):
    """Takes for text what JSON does not have: dates, 010, 0x10, 1_000, yes."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (it is PyYAML's)


for _name, (_form, _letters) in _WORDS.items():
    _whole = re.compile(rf"(?:{_form.pattern})\Z")
    _Reader.add_implicit_resolver(_TAG + _name, _whole, list(_letters))


class _Constructor(yaml.constructor.SafeConstructor):
    """Says of what can't be read what it is: PyYAML raises what its code runs into."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:
            words = f"{str(node.value)[:_SHOWN]!r} can't be read as {node.tag.removeprefix(_TAG)}"
            raise yaml.constructor.ConstructorError(None, None, words, node.start_mark) from error


class _Writer(yaml.SafeDumper):
    """Quotes what has a break of a line that YAML would read as another."""


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None if _BREAKS.isdisjoint(text) else '"'
    return dumper.represent_scalar(_TAG + "str", text, style=style)


_Writer.add_representer(str, _write_text)


def written(values: Mapping[str, bytes]) -> str:
    """Return paths and values as `read` reads them."""
    kept = {path: _text_or_bytes(value) for path, value in values.items()}
    return yaml.dump(kept, Dumper=_Writer, allow_unicode=True, sort_keys=True) if kept else ""


def read(file: Path) -> dict[str, bytes]:
    """Return paths and values of a file (-: of standard input). UsageError where it is not of that form.

    A value is its text as it is written there, but a list or mapping JSON, and what is tagged as binary bytes.
    """
    values: dict[str, bytes] = {}
    try:
        text = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        found = yaml.compose(text, Loader=_Reader)
        if found is None:
            return values
        if not isinstance(found, yaml.MappingNode):
            raise UsageError(
                f"{file}: it has to be a mapping of paths to values, as `gristmill config export` prints it"
            )
        for key, node in found.value:
            path = check_path(str(key.value))
            if path in values:
                raise UsageError(f"{file}: {path} is there twice")
            if (twice := _key_twice(node)) is not None:
                raise UsageError(f"{file}: {path}: the key {twice} is there twice")
            _take_keys_as_text(node)
            values[path] = _value_of(path, node)
            check_size(values[path])
    except Refused as error:
        raise Refused(f"{path}: {error}") from None
    except RecursionError:
        raise UsageError(f"{file} can't be read: it is nested too deeply") from None
    except (yaml.YAMLError, OSError, ValueError) as error:
        raise UsageError(f"{file} can't be read: {error}") from None
    return values


def _value_of(path: str, node: yaml.Node) -> bytes:
    if not isinstance(node, yaml.ScalarNode):
        try:
            value = _Constructor().construct_document(node)
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: {error}") from None
        return bytes_of(path, value)
    if node.tag != _TAG + "binary":
        return bytes_of(path, node.value)
    try:
        return base64.b64decode("".join(node.value.split()), validate=True)
    except ValueError as error:
        raise ValueError(f"{path}: what is tagged as binary is no base64 ({error})") from None


def _take_keys_as_text(top: yaml.Node) -> None:
    """Make each key in a value the text that it is written as, as paths are: JSON has no others."""
    for node in _mappings(top):
        node.value = [(_as_text(key), value) for key, value in node.value]


def _as_text(key: yaml.Node) -> yaml.Node:
    """Return a key as text, but what merges another mapping; a node may be a value elsewhere, by an alias."""
    if not isinstance(key, yaml.ScalarNode) or key.tag == _TAG + "merge":
        return key
    return yaml.ScalarNode(_TAG + "str", key.value, key.start_mark, key.end_mark)


def _key_twice(top: yaml.Node) -> str | None:
    """Return a key that is there twice in one of the mappings of a value, or None."""
    for node in _mappings(top):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) < len(keys):
            return str(next(key for key in keys if keys.count(key) > 1))
    return None


def _mappings(top: yaml.Node) -> Iterator[yaml.MappingNode]:
    """Yield all mappings of a value, each once."""
    known: set[int] = set()
    left = [top]
    while left:
        node = left.pop()
        if id(node) in known:  # (by an alias)
            continue
        known.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            left += node.value
        elif isinstance(node, yaml.MappingNode):
            left += [one for pair in node.value for one in pair]
            yield node


def _text_or_bytes(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
