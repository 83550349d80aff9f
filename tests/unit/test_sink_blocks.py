from __future__ import annotations

import hashlib
import os
import random
from dataclasses import replace
from itertools import count
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sink_builders import letter, lines, plan_of, write

from gristmill.errors import OutputError, PartsMissing
from gristmill.planning.intervals import decompose
from gristmill.planning.plan import Plan
from gristmill.sinks import (
    Finished,
    Sink,
    layout,
    load_plan,
    open_sink,
    read_manifest,
    read_results,
    save_plan,
)
from gristmill.sinks.store import open_store

_folders = count()


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "local" else f"memory://blocks{next(_folders)}"


def content(chunk: int) -> list[str]:
    """Return the results of a chunk: none, one or some."""
    return [f"{chunk}:{item}" for item in range(chunk % 4)]


def part(sink: Sink, start: int, stop: int, nonce: str) -> bool:
    return write(
        sink, start, [(c + 1, lines(*content(c)), len(content(c))) for c in range(start, stop)], nonce
    )


def calm(url: str, plan: Plan) -> Finished:
    sink = open_sink(url, "jsonl", "txt", plan)
    for block in range(plan.blocks):
        assert part(sink, *plan.block_range(block), "calm")
    return sink.finish(0)


def test_direct_and_assembled_blocks_are_alike(url: str) -> None:
    plan = plan_of(29)
    direct = calm(f"{url}1", plan)
    sink = open_sink(f"{url}2", "jsonl", "txt", plan)
    for chunk in range(plan.chunks):
        assert not part(sink, chunk, chunk + 1, f"w:{chunk}")
    for block in range(plan.blocks):
        assert sink.assemble(block) == sink.assemble(block)
    assert sink.finish(0) == direct == sink.finish(0)
    results = [result for chunk in range(29) for result in content(chunk)]
    assert list(read_results(f"{url}2")) == list(read_results(f"{url}1")) == results
    assert direct.items == len(results)
    manifest = read_manifest(f"{url}2")
    assert manifest is not None
    for entry in manifest.entries:
        data = sink.store.read(entry.name)
        assert data is not None
        assert hashlib.sha256(data).hexdigest() == entry.sha256
    assert sorted(sink.store.list(deep=True)) == sorted(
        [e.name for e in manifest.entries]
        + [f"_gristmill/blocks/{block:05d}.json" for block in range(plan.blocks)]
        + ["_gristmill/manifest.json", "_gristmill/plan.json"]
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32), st.sets(st.integers(0, 39), max_size=5))
def test_any_attempts_give_the_calm_bytes(
    tmp_path_factory: pytest.TempPathFactory, chunks: int, seed: int, dead_chunks: set[int]
) -> None:
    rnd = random.Random(seed)
    plan = plan_of(chunks)
    folder = tmp_path_factory.mktemp("out")
    sink = open_sink(str(folder), "jsonl", "txt", plan)
    # some chunks are dead as a whole, or some of their items are
    dead = {}
    for chunk in sorted(c for c in dead_chunks if c < chunks):
        items = range(len(content(chunk)))
        dead[chunk] = rnd.sample(items, rnd.randint(1, len(items))) if items and rnd.random() < 0.6 else [-1]
    # attempts: the needed intervals in pieces, and overlapping ones that do not count
    attempts = []
    for block in range(plan.blocks):
        a, b = plan.block_range(block)
        holes = [c for c in dead if a <= c < b]
        for start, stop in zip([a, *(c + 1 for c in holes)], [*holes, b], strict=True):
            attempts += [piece for whole in decompose(start, stop) for piece in shatter(rnd, *whole)]
        attempts += [piece for piece in decompose(a, b) for _ in range(rnd.randint(0, 2)) if piece != (a, b)]
    rnd.shuffle(attempts)
    for nonce, (start, stop) in enumerate(attempts):
        part(sink, start, stop, f"w:{nonce}")
    fragments = {}
    for chunk, items in dead.items():
        if items == [-1]:
            continue
        fragments[chunk] = len(content(chunk))
        for item in range(fragments[chunk]):
            if item not in items:
                sink.write_fragment(
                    chunk, item, item + 1, fragments[chunk], lines(content(chunk)[item]), 1, f"f:{item}"
                )
    letters = [letter(chunk, item) for chunk, items in dead.items() for item in items]
    for block in range(plan.blocks):
        sink.assemble(block, letters, fragments)
    finished = sink.finish(len(letters))
    expected = [
        result
        for chunk in range(chunks)
        for item, result in enumerate(content(chunk))
        if -1 not in dead.get(chunk, ()) and item not in dead.get(chunk, ())
    ]
    assert list(read_results(str(folder))) == expected
    assert finished.items == len(expected)
    # a job with nothing dead, and the same after a retry of the dead
    again = tmp_path_factory.mktemp("again")
    if letters:
        for chunk in dead:
            part(sink, chunk, chunk + 1, "retry")
        for block in range(plan.blocks):
            sink.assemble(block, [], fragments)
        finished = sink.finish(0)
    assert finished == calm(str(again), plan)
    assert list(read_results(str(folder))) == [r for c in range(chunks) for r in content(c)]


def shatter(rnd: random.Random, start: int, stop: int) -> list[tuple[int, int]]:
    """Return a dyadic interval as it is, or cut into halves of halves."""
    middle = (start + stop) // 2
    if stop - start == 1 or rnd.random() < 0.4:
        return [(start, stop)]
    return shatter(rnd, start, middle) + shatter(rnd, middle, stop)


def test_a_plan_that_was_removed_meanwhile_is_there_in_the_end(url: str) -> None:
    plan = save_plan(url, plan_of(29))
    store = open_store(url)
    store.remove(layout.PLAN)
    calm(url, plan)
    assert load_plan(url) == plan
    store.remove(layout.PLAN)
    save_plan(f"{url}2", replace(plan, work_digest="another"))
    with pytest.raises(OutputError, match="plan of another job"):
        calm(f"{url}2", plan)


def test_missing_chunks_are_named(url: str) -> None:
    plan = plan_of(32)
    sink = open_sink(url, "jsonl", "txt", plan)
    part(sink, 8, 10, "a")
    part(sink, 12, 16, "b")
    with pytest.raises(PartsMissing) as caught:
        sink.assemble(1)
    assert caught.value.missing == [(10, 12)]
    with pytest.raises(PartsMissing) as caught:
        sink.finish(0)
    assert caught.value.missing == [(0, 8), (8, 16), (16, 24), (24, 32)]
    assert read_manifest(url) is None
    with pytest.raises(OutputError, match="no complete job"):
        read_results(url)


def test_nothing_is_visible_before_close_or_after_abort(url: str) -> None:
    sink = open_sink(url, "jsonl", "txt", plan_of(32))
    writer = sink.begin(0, 0, "a")
    writer.append(8, lines(1, 2), 2)
    assert not [name for name in sink.store.list(deep=True) if "tmp" not in name]
    writer.abort()
    assert sink.store.list(deep=True) == {}


def test_only_dyadic_pieces_of_the_block_are_taken(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(32))
    for start, stop in ((1, 3), (0, 16), (4, 4), (0, 3)):
        writer = sink.begin(0, start, "a")
        with pytest.raises(ValueError, match="not a dyadic interval"):
            writer.append(stop, b"1\n", 1)
        writer.abort()


def test_a_second_writer_of_a_block_changes_nothing(url: str) -> None:
    sink = open_sink(url, "jsonl", "txt", plan_of(4, blocks=1))
    assert write(sink, 0, [(4, lines("first"), 1)], "a")
    assert write(sink, 0, [(4, lines("second"), 1)], "b")
    sink.finish(0)
    assert list(read_results(url)) == ["first"]


def test_a_dead_chunk_is_not_in_the_output_though_a_lost_attempt_had_it(url: str) -> None:
    sink = open_sink(url, "jsonl", "txt", plan_of(8, blocks=1))
    part(sink, 0, 4, "late")
    part(sink, 0, 2, "a")
    part(sink, 2, 3, "b")
    part(sink, 4, 8, "c")
    sink.assemble(0, [letter(3)])
    sink.finish(1)
    assert list(read_results(url)) == [r for c in (0, 1, 2, 4, 5, 6, 7) for r in content(c)]


def test_finish_wants_the_dead_to_be_known(url: str) -> None:
    sink = open_sink(url, "jsonl", "txt", plan_of(1))
    part(sink, 0, 1, "a")
    with pytest.raises(OutputError, match="0 dead items, the job of 1"):
        sink.finish(1)


def test_no_chunks_at_all(url: str) -> None:
    finished = open_sink(url, "jsonl", "txt", plan_of(0)).finish(0)
    assert (finished.items, finished.files) == (0, 0)
    assert list(read_results(url)) == []


def test_a_replaced_block_takes_the_manifest_with_it(url: str) -> None:
    sink = open_sink(url, "jsonl", "txt", plan_of(2, blocks=1))
    part(sink, 0, 1, "a")
    sink.assemble(0, [letter(1)])
    with_dead = sink.finish(1)
    part(sink, 1, 2, "b")
    sink.assemble(0)
    assert read_manifest(url) is None
    assert sink.finish(0).digest != with_dead.digest


def test_a_file_a_chunk(url: str) -> None:
    plan = plan_of(8, blocks=2)
    sink = open_sink(url, "files", "csv", plan)
    writer = sink.begin(0, 0, "a")
    for chunk in range(4):
        writer.append_file(chunk + 1, b"chunk %d" % chunk, 1)
    assert not [name for name in sink.store.list() if name.startswith("chunk")]
    assert writer.close().direct
    for chunk in (4, 5):
        writer = sink.begin(1, chunk, "a")
        writer.append_file(chunk + 1, b"chunk %d" % chunk, 1)
        assert not writer.close().direct
    sink.write_fragment(6, 0, 2, 3, b"chunk", 2, "c")
    sink.write_fragment(6, 2, 3, 3, b" 6", 1, "c")
    sink.assemble(1, [letter(7)], {6: 3})
    finished = sink.finish(1)
    assert finished.files == 7
    assert finished.bytes == 7 * len("chunk 0")
    names = [f"chunk-{chunk:012d}.csv" for chunk in range(7)]
    assert list(read_results(url)) == [f"{sink.store.url}/{name}" for name in names]
    assert sink.store.read_many(names) == [b"chunk %d" % chunk for chunk in range(7)]
    recovered = sink.recover()
    assert (recovered.done, recovered.dead, recovered.items) == ([(0, 7)], [letter(7)], 9)


def test_losers_are_removed(url: str) -> None:
    plan = plan_of(4, blocks=1)
    sink = open_sink(url, "jsonl", "txt", plan)
    part(sink, 1, 2, "loser")
    part(sink, 0, 4, "winner")
    store = sink.store
    for name in ("part-00099.jsonl", "chunk-000000000000.txt", "notes.txt", "_gristmill/plan.json"):
        draft = store.draft()
        draft.write(plan.to_json() if name == layout.PLAN else b"x")
        store.publish(draft, name)
    sink.finish(0)
    ours = {f"_gristmill/{name}.json" for name in ("plan", "manifest", "blocks/00000")}
    assert set(store.list(deep=True)) == {"part-00000.jsonl", "notes.txt", *ours}


def test_memory_files_are_really_elsewhere(url: str) -> None:
    calm(url, plan_of(4))
    assert fsspec.core.url_to_fs(url)[0].exists(url)


@pytest.mark.parametrize("durable", [False, True])
def test_a_durable_output_is_on_the_disk_before_it_is_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    synced: set[str] = set()
    monkeypatch.setattr(os, "fsync", lambda handle: synced.add(os.path.realpath(f"/proc/self/fd/{handle}")))
    moved: list[str] = []
    rename = os.replace
    monkeypatch.setattr(
        os, "replace", lambda old, new: (moved.append(os.path.realpath(old)), rename(old, new))
    )
    sink = open_sink(str(tmp_path / "out"), "jsonl", "txt", plan_of(16), durable=durable)
    part(sink, *sink.plan.block_range(0), "a")
    assert moved
    assert set(moved) <= synced if durable else not synced
