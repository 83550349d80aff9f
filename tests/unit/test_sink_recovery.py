from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.sink_builders import letter, lines, plan_of, write

from gristmill.errors import PartsMissing
from gristmill.sinks import open_sink, read_results


def test_everything_finished_is_told_once(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(32))
    write(sink, 0, [(8, lines(1, 2, 3), 3)], "a")
    write(sink, 8, [(12, lines(4), 1)], "b")
    write(sink, 8, [(10, lines(4), 1)], "c")
    write(sink, 14, [(15, b"", 0)], "d")
    write(sink, 16, [(20, lines(5), 1)], "e")
    write(sink, 20, [(21, lines(6), 1)], "e")
    write(sink, 22, [(24, lines(7), 1)], "e")
    sink.write_fragment(25, 0, 2, 4, lines(8, 9), 2, "f")
    sink.write_fragment(25, 0, 1, 4, lines(8), 1, "g")
    sink.write_fragment(26, 0, 2, 3, lines(10, 11), 2, "h")
    sink.write_fragment(26, 2, 3, 3, lines(12), 1, "h")
    sink.assemble(2, [letter(21)])
    recovered = sink.recover()
    assert recovered.done == [(0, 12), (14, 15), (16, 21), (22, 24), (26, 27)]
    assert recovered.dead == [letter(21)]
    assert recovered.complete_blocks == [0, 2]
    assert recovered.items == 3 + 1 + 0 + 3 + 3


def test_an_empty_folder(tmp_path: Path) -> None:
    recovered = open_sink(str(tmp_path / "none"), "jsonl", "txt", plan_of(32)).recover()
    assert (recovered.done, recovered.items) == ([], 0)


@pytest.mark.parametrize("keep", [0, 1, 15, 16, 40, -1])
def test_a_part_that_was_cut_off_is_not_there(tmp_path: Path, keep: int) -> None:
    sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(32))
    write(sink, 0, [(4, lines(1), 1)], "a")
    write(sink, 4, [(8, lines(2), 1)], "b")
    (path,) = (tmp_path / "_gristmill/parts/00000").glob("000000000004-*")
    path.write_bytes(path.read_bytes()[:keep])
    assert sink.recover().done == [(0, 4)]
    with pytest.raises(PartsMissing) as caught:
        sink.assemble(0)
    assert caught.value.missing == [(4, 8)]


@pytest.mark.parametrize("position", [0, 10, 30, -1, -16])
def test_a_part_that_was_lengthened_or_damaged_is_not_there(tmp_path: Path, position: int) -> None:
    sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(32))
    write(sink, 4, [(8, b"", 0)], "b")
    (path,) = (tmp_path / "_gristmill/parts/00000").iterdir()
    data = path.read_bytes()
    path.write_bytes(b"!" + data)
    assert sink.recover().done == []
    path.write_bytes(data[:position] + b"\x00" + data[position:][1:])
    assert sink.recover().done == []


def test_parts_of_another_plan_are_not_there(tmp_path: Path) -> None:
    write(open_sink(str(tmp_path), "jsonl", "txt", plan_of(31)), 4, [(8, lines(2), 1)], "b")
    write(open_sink(str(tmp_path), "jsonl", "txt", plan_of(31)), 0, [(8, lines(2), 1)], "b")
    recovered = open_sink(str(tmp_path), "jsonl", "txt", plan_of(32)).recover()
    assert (recovered.done, recovered.complete_blocks) == ([], [])


def test_a_block_without_its_sidecar_is_not_there(tmp_path: Path) -> None:
    """As when the writer died between the two."""
    sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(8, blocks=1))
    write(sink, 0, [(8, lines(1), 1)], "a")
    (tmp_path / "_gristmill/blocks/00000.json").unlink()
    assert sink.recover().done == []
    with pytest.raises(PartsMissing):
        sink.assemble(0)
    for start in (0, 4):
        write(sink, start, [(start + 4, lines(start), 1)], "b")
    sink.assemble(0)
    sink.finish(0)
    assert list(read_results(str(tmp_path))) == [0, 4]


@pytest.mark.parametrize("damage", [b"", b"null", b"{}", b'{"format":1'])
def test_a_broken_sidecar_is_none(tmp_path: Path, damage: bytes) -> None:
    sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(8, blocks=1))
    write(sink, 0, [(8, lines(1), 1)], "a")
    (tmp_path / "_gristmill/blocks/00000.json").write_bytes(damage)
    assert sink.recover().done == []
    assert write(sink, 0, [(8, lines(1), 1)], "b")
    assert sink.recover().done == [(0, 8)]


def test_a_block_that_lost_its_file_is_not_there(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(8, blocks=1))
    write(sink, 0, [(8, lines(1), 1)], "a")
    (tmp_path / "part-00000.jsonl").unlink()
    assert sink.recover().done == []
    with pytest.raises(PartsMissing) as caught:
        sink.finish(0)
    assert caught.value.missing == [(0, 8)]


def test_long_footers_are_read(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path), "files", "txt", plan_of(512, blocks=1))
    writer = sink.begin(0, 0, "a")
    for chunk in range(300):
        writer.append_file(chunk + 1, b"x", 1)
    writer.close()
    assert sink.recover().done == [(0, 300)]
