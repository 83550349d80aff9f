from __future__ import annotations

import os
from pathlib import Path

import fsspec
import orjson
import pytest
from tests.unit.source_builders import plan_of

from gristmill.api.chunkjob import ChunkJobSpec
from gristmill.errors import InputChanged, InputError
from gristmill.sources import File, input_change, make_plan, open_source


@pytest.mark.parametrize(
    ("given", "chunks", "number", "first"),
    [
        ({"start": 0, "stop": 10, "step": 1}, {}, 10, [0]),
        ({"start": 0, "stop": 10, "step": 1}, {"size": 4}, 3, [0, 1, 2, 3]),
        ({"start": 5, "stop": -6, "step": -2}, {"size": 4}, 2, [5, 3, 1, -1]),
        ({"start": 0, "stop": 10, "step": 1}, {"count": 3}, 3, [0, 1, 2, 3]),
        ({"start": 0, "stop": 10, "step": 1}, {"count": 100}, 10, [0]),
        ({"start": 0, "stop": 3 * 10**6, "step": 1}, {}, 10**6, [0, 1, 2]),
        ({"start": 0, "stop": 0, "step": 1}, {}, 0, None),
    ],
)
def test_range(given: dict[str, int], chunks: dict[str, int], number: int, first: list[int] | None) -> None:
    plan = plan_of(range=given, chunks=chunks)
    source = open_source(plan)
    assert plan.chunks == number
    assert plan.items == len(range(given["start"], given["stop"], given["step"]))
    if first is not None:
        assert list(source.read(0)) == first
        assert list(source.span(0, plan.chunks) or ()) == list(
            range(given["start"], given["stop"], given["step"])
        )


def test_a_plan_of_a_million_million_items_is_small() -> None:
    plan = plan_of(range={"stop": 10**12})
    assert len(plan.to_json()) < 300
    source = open_source(plan)
    assert source.read(plan.chunks - 1)[-1] == 10**12 - 1
    assert len(source.span(0, plan.chunks) or ()) == 10**12
    assert source.describe(0) == "0 to 999999"


def test_items() -> None:
    plan = plan_of(items=["a", {"b": 1}, None, 4, 5], chunks={"size": 2})
    source = open_source(plan)
    assert [list(source.read(chunk)) for chunk in range(plan.chunks)] == [["a", {"b": 1}], [None, 4], [5]]
    assert list(source.span(0, 2) or ()) == ["a", {"b": 1}, None, 4]
    assert (source.does_io, source.chunk_size) == (False, 2)
    assert [source.describe(chunk) for chunk in (1, 2)] == ["items 2 to 3", "item 4"]


def test_files_are_items_a_chunk_each(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", ".hidden", "sub/c.txt", ".git/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    source = open_source(plan_of(files={"url": "."}, base=str(tmp_path)))
    items = [source.read(chunk)[0] for chunk in range(3)]
    assert items == [f"{tmp_path}/{name}" for name in ("a.txt", "b.txt", "sub/c.txt")]
    assert items[2].read_text() == "sub/c.txt"
    assert items[2].read_bytes() == b"sub/c.txt"
    assert orjson.dumps(items[0]) == orjson.dumps(str(items[0]))
    assert isinstance(items[0], File)
    assert source.describe(0) == f"{tmp_path}/a.txt"
    assert source.span(0, 3) is None
    assert source.chunk_size == 1


@pytest.mark.parametrize("url", ["a*.txt", "file://{}/a?.txt", "{}/**/a*.txt"])
def test_globs(tmp_path: Path, url: str) -> None:
    for name in ("a2.txt", "a1.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "a_folder.txt").mkdir()
    plan = plan_of(files={"url": url.format(tmp_path)}, base=str(tmp_path), chunks={"size": 2})
    assert plan.items == 2
    assert [item.read_text() for item in open_source(plan).read(0)] == ["a1.txt", "a2.txt"]


def test_a_name_that_looks_like_a_glob(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("x")
    assert plan_of(files={"url": "a[1].txt"}, base=str(tmp_path)).items == 1


@pytest.mark.parametrize("kind", ["lines", "files"])
@pytest.mark.parametrize(
    "url", ["nothing.txt", "nothing/*.txt", "memory://nothing/*.txt", "memory://nothing.txt"]
)
def test_what_matches_nothing_is_told(tmp_path: Path, kind: str, url: str) -> None:
    with pytest.raises(InputError, match=r"nothing.* matches no file"):
        plan_of(**{kind: {"url": url}}, base=str(tmp_path))


@pytest.mark.parametrize("kind", ["lines", "files"])
def test_a_name_that_is_not_utf8_is_told(tmp_path: Path, kind: str) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("x\n")
    with pytest.raises(InputError, match=r"caf\\udce9\.txt': the name is not UTF-8"):
        plan_of(**{kind: {"url": str(tmp_path)}})


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="matches no file"):
        plan_of(files={"url": str(tmp_path)})


@pytest.mark.parametrize("name", ["a.zst", "a.zip"])
def test_archives_that_are_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match="can't be read as lines"):
        plan_of(lines={"url": str(tmp_path)})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x\n")
    path.chmod(0)
    with pytest.raises(InputError, match="can't be read"):
        open_source(plan_of(lines={"url": str(path)})).read(0)


@pytest.fixture
def memory() -> str:
    fs = fsspec.filesystem("memory")
    for index in range(3):
        fs.pipe_file(f"/input/{index}.txt", b"".join(b"%d %d\n" % (index, n) for n in range(100)))
    return "memory://input"


def test_remote_files(memory: str) -> None:
    source = open_source(plan_of(files={"url": memory}))
    items = source.read(2)
    assert items == ["memory:///input/2.txt"] or items == ["memory://input/2.txt"]
    assert items[0].read_bytes().startswith(b"2 0\n")


def test_remote_lines_and_their_change(memory: str) -> None:
    plan = plan_of(lines={"url": f"{memory}/*.txt"}, chunks={"count": 13})
    source = open_source(plan)
    lines = [line for chunk in range(plan.chunks) for line in source.read(chunk)]
    assert lines == [f"{index} {n}" for index in range(3) for n in range(100)]
    fsspec.filesystem("memory").pipe_file("/input/0.txt", b"short")
    with pytest.raises(InputChanged, match=r"0\.txt changed"):
        source.read(0)


def test_an_input_that_was_moved_or_has_the_output_in_it_has_not_changed(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_text(f"{name}\n")
    spec = ChunkJobSpec.model_validate(
        {"input": {"lines": {"url": "."}}, "process": {"function": "module:function"}}
    )
    plan = make_plan(spec, str(folder), "spec")
    (folder / "out").mkdir()
    (folder / "out" / "part").write_text("1\n")
    folder.rename(tmp_path / "new")
    base = str(tmp_path / "new")
    assert not input_change(spec, base, plan, f"{base}/out")
    assert input_change(spec, base, plan, f"{base}/elsewhere")
    (tmp_path / "new" / "b").write_text("longer\n")
    assert input_change(spec, base, plan, f"{base}/out")


@pytest.mark.parametrize("output", ["{}/out", "{}/out/", "file://{}/out", "file://{}/out/"])
def test_what_is_in_the_output_is_no_change_of_the_input_whichever_way_it_is_named(
    tmp_path: Path, output: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "a").write_text("a\n")
    (tmp_path / "out" / "former").write_text("1\n")
    spec = ChunkJobSpec.model_validate(
        {"input": {"lines": {"url": "."}}, "process": {"function": "module:function"}}
    )
    plan = make_plan(spec, str(tmp_path), "spec")
    (tmp_path / "out" / "part").write_text("1\n")
    assert not input_change(spec, str(tmp_path), plan, output.format(tmp_path))
    (tmp_path / "out" / "former").unlink()
    assert not input_change(spec, str(tmp_path), plan, output.format(tmp_path))
    (tmp_path / "outer").write_text("1\n")
    assert input_change(spec, str(tmp_path), plan, output.format(tmp_path)) == f"{tmp_path}/outer is new"
