from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sink_builders import letter, plan_of, write_values
from tests.unit.test_sink_blocks import shatter

from gristmill.planning.intervals import decompose
from gristmill.planning.reduction import TreeFold
from gristmill.sinks import encode_value, open_sink, read_results


def add(left: Any, right: Any) -> Any:
    return left + right


def fold(pairs: list[tuple[int, Any]]) -> Any:
    tree = TreeFold(add)
    for position, value in pairs:
        tree.push(position, value)
    return tree.result()[1]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32), st.sets(st.integers(0, 39), max_size=3))
def test_floats_add_up_to_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, chunks: int, seed: int, dead_chunks: set[int]
) -> None:
    rnd = random.Random(seed)
    values = [rnd.choice([None, rnd.uniform(-1, 1) * 10 ** rnd.randint(-9, 9)]) for _ in range(chunks)]
    dead = sorted(chunk for chunk in dead_chunks if chunk < chunks)
    expected = fold([(c, v) for c, v in enumerate(values) if v is not None and c not in dead])
    plan = plan_of(chunks)
    folder = tmp_path_factory.mktemp("out")
    sink = open_sink(str(folder), "jsonl", "txt", plan, add)
    for block in range(plan.blocks):
        a, b = plan.block_range(block)
        holes = [c for c in dead if a <= c < b]
        for start, stop in zip([a, *(c + 1 for c in holes)], [*holes, b], strict=True):
            for whole in decompose(start, stop):
                for low, high in shatter(rnd, *whole):
                    write_values(sink, low, [(c + 1, values[c]) for c in range(low, high)], f"w:{low}")
    for block in range(plan.blocks):
        sink.assemble(block, [letter(chunk) for chunk in dead])
    finished = sink.finish(len(dead))
    assert list(read_results(str(folder))) == [expected]
    assert (folder / "result.json").read_bytes() == orjson.dumps(expected) + b"\n"
    assert finished.items == chunks - len(dead)


def test_fragments_make_the_tree_over_their_items(tmp_path: Path) -> None:
    values = [0.1, 0.2, 0.3, 1e16, 0.7, -1e16, 5.5]
    sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(2, blocks=1), add)
    write_values(sink, 0, [(1, 1.0)], "a")
    for low, high in ((0, 4), (4, 5), (6, 7)):
        value = fold([(i, values[i]) for i in range(low, high)])
        sink.write_fragment(1, low, high, 7, encode_value(value), high - low, "b")
    sink.assemble(0, [letter(1, 5)], {1: 7})
    sink.finish(1)
    chunk = fold([(i, value) for i, value in enumerate(values) if i != 5])
    assert list(read_results(str(tmp_path))) == [fold([(0, 1.0), (1, chunk)])]


def test_values_are_seen_as_json_everywhere(tmp_path: Path) -> None:
    seen = set()

    def merge(left: Any, right: Any) -> Any:
        seen.update((type(left), type(right)))
        return Counter(left) + Counter(right)

    sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(8, blocks=2), merge)
    write_values(sink, 0, [(c + 1, Counter(str(c))) for c in range(4)], "a")
    for chunk in range(4, 8):
        write_values(sink, chunk, [(chunk + 1, Counter("x"))], f"b:{chunk}")
    sink.assemble(1)
    sink.finish(0)
    assert seen == {dict}
    assert list(read_results(str(tmp_path))) == [{"0": 1, "1": 1, "2": 1, "3": 1, "x": 4}]


@pytest.mark.parametrize("chunks", [0, 3])
def test_no_value_at_all_is_null(tmp_path: Path, chunks: int) -> None:
    sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(chunks), add)
    for chunk in range(chunks):
        writer = sink.begin(chunk, chunk, "a")
        writer.append_value(chunk + 1, b"", 0)
        assert writer.close().direct
    sink.finish(0)
    assert (tmp_path / "result.json").read_bytes() == b"null\n"
    assert list(read_results(str(tmp_path))) == [None]


def test_recovery_of_a_reduction(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(32), add)
    write_values(sink, 0, [(8, 1)], "a")
    write_values(sink, 10, [(11, 1)], "a")
    recovered = sink.recover()
    assert (recovered.done, recovered.complete_blocks, recovered.items) == ([(0, 8), (10, 11)], [0], 2)


def test_two_that_assemble_a_block_do_not_disturb_each_other(tmp_path: Path) -> None:
    plan = plan_of(4, blocks=1)
    other = open_sink(str(tmp_path), "jsonl", "txt", plan, add)

    def slow(left: int, right: int) -> int:
        other.assemble(0)  # which removes the parts that are being read
        return left + right

    sink = open_sink(str(tmp_path), "jsonl", "txt", plan, slow)
    for chunk in range(4):
        write_values(other, chunk, [(chunk + 1, chunk)], "a")
    assert sink.assemble(0) == other.assemble(0)
    other.finish(0)
    assert list(read_results(str(tmp_path))) == [6]
