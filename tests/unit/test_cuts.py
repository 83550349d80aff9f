from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.planning.cuts import Cuts, Piece, Run, cut_files, default_bytes, even_cut, own_lines

CONTENT = st.lists(
    st.sampled_from([b"\n", b"\r\n", b"a", b"bc", b"\r", "é".encode(), "漢".encode(), b"x" * 20])
).map(b"".join)


@pytest.mark.parametrize(
    ("data", "head", "length", "final", "own"),
    [
        (b"ab\ncd\n", 0, 2, True, (0, 3)),
        (b"ab\ncd\n", 0, 3, True, (0, 3)),
        (b"ab\ncd\n", 0, 4, True, (0, 6)),
        (b"\ncd\n", 1, 3, True, (1, 4)),
        (b"b\ncd\n", 1, 1, True, (2, 2)),
        (b"b\ncd\n", 1, 2, True, (2, 5)),
        (b"xxxx", 1, 3, True, (0, 0)),
        (b"xxxx", 1, 2, False, (0, 0)),
        (b"xxxx", 0, 2, False, None),
        (b"xxxx", 0, 2, True, (0, 4)),
        (b"\n", 0, 1, True, (0, 1)),
    ],
)
def test_own_lines(data: bytes, head: int, length: int, final: bool, own: tuple[int, int] | None) -> None:
    found = own_lines(data, head, length, final)
    assert found is own is None or (found is not None and own is not None)
    if found and own:
        assert data[slice(*found)] == data[slice(*own)]


@given(CONTENT, st.integers(1, 30), st.integers(0, 3))
def test_every_line_belongs_to_exactly_one_range(content: bytes, chunks: int, past: int) -> None:
    chunks = min(chunks, len(content))
    texts = []
    for index in range(chunks):
        start, stop = even_cut(len(content), chunks, index)
        head = min(start, 1)
        end = min(stop + past, len(content))
        while (
            own := own_lines(content[start - head : end], head, stop - start, end == len(content))
        ) is None:
            end = min(end + 1, len(content))
        text = content[start - head : end][slice(*own)]
        assert not text or content[: start - head + own[0]].endswith(b"\n") or start == 0
        texts.append(text)
    assert b"".join(texts) == content


@pytest.mark.parametrize(
    ("sizes", "whole", "size", "count", "runs"),
    [
        ([], [], None, None, []),
        ([0], [False], None, None, [Run(1, 0, False)]),
        ([100], [False], 30, None, [Run(1, 4, False)]),
        ([100], [False], None, 7, [Run(1, 7, False)]),
        ([3], [False], None, 7, [Run(1, 3, False)]),
        ([50, 50], [False, False], None, 7, [Run(2, 7, False)]),
        ([50, 9, 50], [False, True, False], None, 7, [Run(1, 3, False), Run(1, 1, True), Run(1, 3, False)]),
        ([50, 9, 50], [False, True, False], 25, None, [Run(1, 2, False), Run(1, 1, True), Run(1, 2, False)]),
        ([9, 9, 9], [True, True, True], None, 1, [Run(3, 3, True)]),
        ([1 << 40], [False], None, None, [Run(1, 1 << 17, False)]),
        ([1 << 20], [False], None, None, [Run(1, 16, False)]),
    ],
)
def test_cut_files(
    sizes: list[int], whole: list[bool], size: int | None, count: int | None, runs: list[Run]
) -> None:
    assert cut_files(sizes, whole, size, count) == runs


FILES = st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=12)


@given(FILES, st.integers(1, 60), st.booleans())
def test_chunks_are_the_files_end_to_end(files: list[tuple[int, bool]], number: int, by_count: bool) -> None:
    sizes = [size for size, _ in files]
    whole = [flag for _, flag in files]
    runs = cut_files(sizes, whole, None if by_count else number, number if by_count else None)
    cuts = Cuts(sizes, runs)
    covered: list[Piece] = []
    for chunk in range(cuts.chunks):
        pieces = cuts.pieces(chunk)
        assert pieces
        assert by_count or pieces[0].whole or sum(p.stop - p.start for p in pieces) <= number
        covered += pieces
    for file, size in enumerate(sizes):
        ranges = [(p.start, p.stop) for p in covered if p.file == file]
        assert [start for start, _ in ranges] == [0, *(stop for _, stop in ranges)][: len(ranges)]
        assert not ranges or ranges[-1][1] == size
        assert ranges or size == 0
    assert [p.file for p in covered] == sorted(p.file for p in covered)
    if by_count and not any(whole):
        assert cuts.chunks == min(number, sum(sizes))


@pytest.mark.parametrize(
    ("total", "chunk"), [(0, 65536), (10**6, 65536), (64 << 20, 1 << 20), (10**12, 8 << 20)]
)
def test_default_bytes(total: int, chunk: int) -> None:
    assert default_bytes(total) == chunk
