from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.source_builders import plan_of

from gristmill.errors import InputChanged, InputError
from gristmill.sources import LargeLines, Lines, open_source, readers, reading_failure

WORDS = st.sampled_from(
    [b"\n", b"\r\n", b"a", b"\r", b"\x0c", "é\u2028".encode(), "漢".encode(), b"y" * 4200]
)
CONTENT = st.lists(WORDS, max_size=12).map(b"".join)


def expected(content: bytes) -> list[str]:
    if not content:
        return []
    lines = content.decode().removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(CONTENT, min_size=1, max_size=3),
    st.integers(1, 40),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 5, 50, 5000]),
)
def test_lines_are_read_exactly_once(
    tmp_path_factory: pytest.TempPathFactory,
    contents: list[bytes],
    number: int,
    by_count: bool,
    remote: bool,
    block: int | None,
) -> None:
    folder = tmp_path_factory.mktemp("input")
    for index, content in enumerate(contents):
        (folder / f"{index}.txt").write_bytes(content)
    url = f"local://{folder}/*.txt" if remote else f"{folder}/*.txt"
    chunks = {"count": number} if by_count else {"bytes": max(number, sum(map(len, contents)) // 50)}
    plan = plan_of(lines={"url": url}, chunks=chunks)
    source = open_source(plan)
    with pytest.MonkeyPatch.context() as patch:
        if block is not None:
            patch.setattr(readers, "MOST_BYTES", 0)
            patch.setattr(readers, "BLOCK_BYTES", block)
        _check_parts(contents, [source.read(chunk) for chunk in range(plan.chunks)], block)
    if by_count:
        assert plan.chunks == min(number, sum(map(len, contents)))


def _check_parts(contents: list[bytes], parts: list[Any], block: int | None) -> None:
    assert all(isinstance(part, LargeLines if block else Lines) for part in parts)
    assert [line for part in parts for line in part] == [line for c in contents for line in expected(c)]
    assert sum(map(len, parts)) == sum(len(expected(content)) for content in contents)
    by_part = [list(part.blocks()) for part in parts]
    assert all(piece.endswith(b"\n") for blocks in by_part for piece in blocks[:-1])
    blocks = [piece for part in by_part for piece in part]
    assert b"".join(blocks) == b"".join(part.data for part in parts)
    assert [line for part in parts for line in part] == [line for c in contents for line in expected(c)]
    if len(contents) == 1:
        assert b"".join(blocks) == contents[0]


@given(CONTENT, st.integers(-3, 45), st.integers(-3, 45))
def test_lines_slice_like_a_list(content: bytes, start: int, stop: int) -> None:
    lines = Lines(content)
    wanted = expected(content)
    assert len(lines) == len(wanted)
    piece = lines[start:stop]
    assert isinstance(piece, Lines)
    assert list(piece) == wanted[start:stop]
    assert len(piece) == len(wanted[start:stop])
    assert lines[::-1] == wanted[::-1]
    assert Lines(content).text.encode() == content


@given(CONTENT, st.integers(-3, 45) | st.none(), st.integers(-3, 45) | st.none())
def test_large_lines_slice_like_a_list(content: bytes, start: int | None, stop: int | None) -> None:
    whole = Lines(content)
    lines = LargeLines(lambda: iter(BytesIO(content)), "utf-8")  # (a block a line)
    piece = lines[start:stop]
    assert isinstance(piece, LargeLines)
    assert list(piece) == list(whole)[start:stop]
    assert len(piece) == len(whole[start:stop])
    assert piece.data == whole[start:stop].data
    assert list(piece[1:-1]) == list(whole)[start:stop][1:-1]
    assert lines[::-1] == list(whole)[::-1]


def test_a_slice_of_large_lines_reads_no_more_than_to_its_end() -> None:
    def pieces() -> Iterator[bytes]:
        for number in range(4):
            read.append(number)
            yield b"%d\n%d\n" % (2 * number, 2 * number + 1)

    read: list[int] = []
    part = LargeLines(pieces, "utf-8")[3:5]
    assert read == []
    assert list(part.blocks()) == [b"3\n", b"4\n"]
    assert read == [0, 1, 2]
    assert part.text == "3\n4\n"


def test_what_a_slice_of_large_lines_can_not_read_is_known_of_both() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one\ntwo\n"
        raise InputError("broken")

    lines = LargeLines(pieces, "utf-8")
    part = lines[1:3]
    with pytest.raises(InputError):
        list(part)
    assert reading_failure(part) is reading_failure(lines) is not None


def test_a_bad_byte_is_in_the_slice_that_has_it() -> None:
    lines = Lines(b"good\nb\xffd\nfine\n")
    with pytest.raises(UnicodeDecodeError):
        list(lines)
    assert list(lines[:1]) == ["good"]
    assert list(lines[2:]) == ["fine"]
    with pytest.raises(UnicodeDecodeError):
        list(lines[1:2])


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"\xff"]), max_size=20).map(b"".join))
def test_only_a_line_with_a_bad_byte_raises(content: bytes) -> None:
    lines, any_byte = Lines(content), Lines(content, "latin-1")
    assert len(lines) == len(any_byte)
    for index, line in enumerate(any_byte):
        if "\xff" not in line:
            assert lines[index] == line
            continue
        with pytest.raises(UnicodeDecodeError):
            lines[index]


def test_lines_before_a_bad_one_are_given() -> None:
    seen: list[str] = []
    with pytest.raises(UnicodeDecodeError):
        seen.extend(map(str.upper, Lines(b"good\r\nfine\nb\xffd\nlast")))
    assert seen == ["GOOD", "FINE"]


def test_blocks_are_whole_lines_of_about_a_megabyte() -> None:
    content = b"".join(b"%d\n" % n for n in range(500_000))
    blocks = list(Lines(content).blocks())
    assert b"".join(blocks) == content
    assert len(blocks) == 4
    assert all(block.endswith(b"\n") for block in blocks)


def test_what_cannot_be_read_is_known_whatever_the_reader_makes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MOST_BYTES", 0)
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\n")
    lines = open_source(plan_of(lines={"url": str(tmp_path)}, chunks={"count": 1})).read(0)
    assert reading_failure(lines) is None
    (tmp_path / "a.txt").write_bytes(b"others\n")
    with suppress(Exception):
        list(lines)
    assert isinstance(reading_failure(lines), InputChanged)


def test_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("año\nüber\n".encode("latin-1"))
    plan = plan_of(lines={"url": str(tmp_path), "encoding": "latin-1"})
    assert list(open_source(plan).read(0)) == ["año", "über"]


@pytest.mark.parametrize(
    ("ending", "compress"),
    [("gz", gzip.compress), ("GZ", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)],
)
def test_compressed_files_are_chunks_of_their_own(tmp_path: Path, ending: str, compress: object) -> None:
    text = b"one\ntwo\r\nthree"
    (tmp_path / f"b.txt.{ending}").write_bytes(compress(text))  # type: ignore[operator]
    (tmp_path / "a.txt").write_bytes(b"plain\n" * 10)
    (tmp_path / "c.txt").write_bytes(b"after\n")
    plan = plan_of(lines={"url": str(tmp_path)}, chunks={"count": 5})
    source = open_source(plan)
    read = [list(source.read(chunk)) for chunk in range(plan.chunks)]
    assert plan.chunks == 5
    assert ["one", "two", "three"] in read
    assert [line for lines in read for line in lines] == ["plain"] * 10 + ["one", "two", "three", "after"]
    assert f"b.txt.{ending}" in source.describe(read.index(["one", "two", "three"]))


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])
def test_a_broken_archive_is_named(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"a.{ending}").write_bytes(b"not compressed")
    with pytest.raises(InputError, match=f"a.{ending} can't be decompressed"):
        open_source(plan_of(lines={"url": str(tmp_path)})).read(0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: path.write_text("longer than before\n"), "bytes when planned, now 19"),
        (lambda path: path.write_text("bb\n"), "written to"),
        (lambda path: path.write_text(""), "now 0"),
        (lambda path: path.unlink(), "gone"),
        (lambda path: (path.unlink(), path.mkdir()), "now it is a folder"),
        (lambda path: (path.unlink(), path.parent.rmdir(), path.parent.touch()), "gone"),
    ],
)
def test_changed_input_is_refused(tmp_path: Path, change: object, why: str) -> None:
    path = tmp_path / "in" / "a.txt"
    path.parent.mkdir()
    path.write_text("aa\n")
    source = open_source(plan_of(lines={"url": str(path)}))
    assert list(source.read(0)) == ["aa"]
    change(path)  # type: ignore[operator]
    with pytest.raises(InputChanged, match=f"a.txt changed: .*{why}"):
        source.read(0)


def test_a_file_that_has_become_a_folder_is_told_as_one_when_it_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("aa\n")
    source = open_source(plan_of(files={"url": str(path)}))
    path.unlink()
    path.mkdir()
    with pytest.raises(InputChanged, match="now it is a folder"):
        source.read(0)


def test_empty_files_have_no_chunks(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    assert plan_of(lines={"url": str(tmp_path)}).chunks == 0


def test_describe_names_file_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n" * 1000)
    (tmp_path / "b.txt").write_text("x\n" * 1000)
    source = open_source(plan_of(lines={"url": str(tmp_path)}, chunks={"bytes": 1500}))
    assert source.describe(0) == f"{tmp_path}/a.txt bytes 0 to 1,333"
    assert source.describe(1) == f"{tmp_path}/a.txt byte 1,333 to {tmp_path}/b.txt byte 666 (2 files)"
