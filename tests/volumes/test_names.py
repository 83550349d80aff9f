"""Names: what people have is kept as it is; what can't be is refused in a sentence."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill.volumes.errors import BadName
from gristmill.volumes.names import check_digest, check_name, check_volume
from gristmill.volumes.places import split
from gristmill.volumes.store import ContentStore

NAMES = [
    "plain",
    "with spaces in it",
    " at both ends ",
    unicodedata.normalize("NFC", "Übergrößenträger.csv"),
    unicodedata.normalize("NFD", "Übergrößenträger.csv"),
    "数据/日本語.parquet",
    "🦀" * 63,
    "x" * 255,
    "ä" * 127,
    "...",
    ".hidden/..rc",
    "a*b?c[d]",
    "50%25#frag&x=1;y+z~",
    "'quotes\"",
    "-rf",
    "names/content/trash",
    "/".join(["f" * 200] * 4),
]

WRONG = {
    "": "is empty",
    "/absolute": "begins with a slash",
    "folder/": "ends with a slash",
    "/": "begins with a slash",
    "a//b": "an empty part",
    "..": r"the part '\.\.'",
    ".": r"the part '\.'",
    "a/../b": r"the part '\.\.'",
    "a/./b": r"the part '\.'",
    "back\\slash": "has a backslash",
    "a\nb": "the control character",
    "a\0b": "the control character",
    "tab\t": "the control character",
    "\x7f": "the control character",
    "\x85": "the control character",
    "x" * 256: "has 256 bytes",
    "ä" * 128: "has 256 bytes",
    "/".join(["f" * 200] * 5): "has 1,004 bytes",
    "caf\udce9": "not Unicode",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_people_have(store: ContentStore, name: str) -> None:
    store.save(name, name.encode() * 20)
    assert store.open(name).read() == name.encode() * 20
    assert [file.path for file in store.walk()] == [name]
    assert store.list(name.rpartition("/")[0])[0].path == name
    store.remove(name)
    assert list(store.walk()) == []


def test_two_spellings_are_two_names(store: ContentStore) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    store.save(composed, b"1")
    store.save(decomposed, b"2")
    assert [store.open(name).read() for name in (composed, decomposed)] == [b"1", b"2"]
    assert len(store.list()) == 2


@pytest.mark.parametrize(("name", "told"), WRONG.items(), ids=[repr(name)[:20] for name in WRONG])
def test_names_that_are_none(folder: ContentStore, name: str, told: str) -> None:
    for deed in (
        lambda: folder.save(name, b""),
        lambda: folder.open(name),
        lambda: folder.remove(name),
        lambda: folder.copy("plain", name) if folder.save("plain", b"") else None,
        lambda: folder.name(name, "0" * 64),
    ):
        with pytest.raises(BadName, match=told):
            deed()
    assert {file.path for file in folder.walk()} <= {"plain"}


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_a_name_that_is_taken_stays_in_its_folder(name: str) -> None:
    try:
        checked = check_name(name)
    except BadName:
        return
    assert checked == name
    assert not set(name.split("/")) & {"", ".", ".."}
    assert "\0" not in name


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=30))
def test_any_text_is_kept_or_refused(folder: ContentStore, name: str) -> None:
    try:
        folder.save(name, b"x")
    except BadName:
        return
    assert [file.path for file in folder.walk()] == [name]
    folder.remove(name)


@pytest.mark.parametrize("name", ["", "UP", "a_b", "-a", "a-", "a.b", "x" * 64, "..", "ä"])
def test_names_that_are_no_volumes(name: str) -> None:
    with pytest.raises(BadName, match="no name of a volume"):
        check_volume(name)


def test_urls() -> None:
    assert split("volume://v/a b/c") == ("v", "a b/c")
    assert split("volume://v") == ("v", "")
    for url in ("v/a", "s3://v/a", "volume:/v/a", "volume://"):
        with pytest.raises(BadName, match="volume://NAME/path"):
            split(url)
    with pytest.raises(BadName, match="no digest"):
        check_digest("A" * 64)
