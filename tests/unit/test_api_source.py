"""The function that Python text in a manifest offers is found without running it."""

from __future__ import annotations

import pytest

from gristmill.api.source import entry_point


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("def process(x): pass", "process"),
        ("def count(x): pass", "count"),
        ("def count(x): pass\ndef _helper(x): pass", "count"),
        ("def helper(x): pass\ndef process(x): pass\ndef other(x): pass", "process"),
        ("process = lambda x: x", "process"),
        ("process: object = len", "process"),
        ("process, other = len, max", "process"),
        ("from os.path import basename as process", "process"),
        ("import process", "process"),
        ("class process:\n    def __new__(cls, x): return x", "process"),
        ("if True:\n    def count(x): pass\nelse:\n    def count(x): pass", "count"),
        ("try:\n    import a\nexcept ImportError:\n    def count(x): pass", "count"),
        ("def count(x): pass\ndef count(x): pass", "count"),
        ("class Helper:\n    def method(self): pass\ndef count(x):\n    def inner(): pass", "count"),
        (r"def count(x): return '\d'", "count"),
    ],
)
def test_entry_point(text: str, entry: str) -> None:
    assert entry_point(text) == entry


def test_reducing_function_is_not_the_entry_point() -> None:
    text = "def count(x): pass\ndef add(a, b): pass"
    assert entry_point(text, apart_from="add") == "count"
    with pytest.raises(ValueError, match="it defines none"):
        entry_point("def add(a, b): pass", apart_from="add")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must define a function called process, or exactly one public function; it defines none"),
        ("def a(): pass\ndef b(): pass", "it defines a, b"),
        ("def _a(): pass", "it defines none"),
        ("async def count(x): pass", "defines count with async def; use def"),
        ("async def process(x): pass\ndef other(): pass", "defines process with async def; use def"),
        ("x = 1\ndef f(:", "has a syntax error in line 2: "),
        ("\tx = 1", "has a syntax error in line 1: unexpected indent"),
        ("x\0", "must not hold NUL characters"),
        ("-" * 100_000 + "1", "is nested too deeply"),
        ("x" + ".a" * 60_000, "is nested too deeply"),
    ],
    ids=lambda text: text[:20],
)
def test_what_offers_no_function(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the sentence is compared)
        entry_point(text)
    assert sentence in str(caught.value)
